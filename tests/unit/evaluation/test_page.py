"""The report page: complete, safe, and in need of no other file."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from advantageflow.errors import DataError
from advantageflow.evaluation.comparison import compare_reports
from advantageflow.evaluation.page import PAGE_FILE, write_page, write_report_page
from advantageflow.evaluation.report import write_report
from advantageflow.evaluation.samples import Sample
from advantageflow.evaluation.statistics import Outcome

WORDS = 'a <b>bold</b> & "quoted" circle'
METRICS: dict[str, Any] = {
    "images": 8, "prompts": 4, "round": 3, "alarms": [],
    "terms": {"shapes.soft": {"mean": 0.5, "reward": "shapes", "column": "soft", "higher_is_better": True}},
    "watched": {"size.kb": {"mean": 3.0, "reward": "size", "column": "kb", "higher_is_better": False}},
    "statistics": {"sharpness": {"mean": 0.02, "base": 0.03}},
}  # fmt: skip


class Page(HTMLParser):
    """Sources, text and tags of a page; void elements aside, every tag must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.words: list[str] = []
        self.seen: set[str] = set()
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "poster")]
        if tag not in ("meta", "img", "br", "link"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())


def report(folder: Path, gain: float, size: int = 48, metrics: dict[str, Any] = METRICS) -> Path:
    outcomes = [
        Outcome(f"id{n % 4}", "colors" if n % 2 else "counting", n // 4, n, float(n < 4 + gain), 0.5 + gain / 10,
                {"shapes.soft": 0.5 + gain / 10, "size.kb": 3 - gain})
        for n in range(8)
    ]  # fmt: skip
    samples = [
        (Sample(f"id{n}", WORDS, "colors", n, 0.25, correct), Image.new("RGB", (size, size), "teal"))
        for n, correct in enumerate([True, False, None])
    ]
    write_report(folder, metrics, outcomes, samples)
    return folder


def page_of(tmp_path: Path, gain: float = 2, size: int = 48, **more: Any) -> Page:
    reports = {"base": report(tmp_path / "base", 0, size), "tuned": report(tmp_path / "tuned", gain, size)}
    given = {"title": "Run <1>", "facts": {"seed": "0"}, "alarms": [], "comparison": compare_reports(reports), **more}
    write_page(tmp_path / PAGE_FILE, reports=reports, **given)
    return Page((tmp_path / PAGE_FILE).read_text(encoding="utf-8"))


def test_every_picture_is_in_the_page_and_nothing_is_fetched_from_elsewhere(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "curves.png")
    page = page_of(tmp_path, figures=[("By round", tmp_path / "curves.png")])
    assert len(page.sources) == 3 * 2 + 1
    for source in page.sources:
        kind, _, content = source.partition(";base64,")
        assert kind in ("data:image/png", "data:image/jpeg")
        Image.open(io.BytesIO(base64.b64decode(content))).verify()
    assert not page.seen & {"script", "link", "iframe", "object"}
    assert "url(" not in (tmp_path / PAGE_FILE).read_text()


def test_large_pictures_are_shrunk(tmp_path: Path) -> None:
    source = page_of(tmp_path, size=900).sources[0]
    with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as picture:
        assert max(picture.size) <= 320


def test_texts_of_prompts_and_titles_are_shown_as_text(tmp_path: Path) -> None:
    page = page_of(tmp_path, details={"Settings": "a: <c>"})
    assert "b" not in page.seen
    assert {WORDS, "Run <1>", "a: <c>"} <= set(page.words)


def test_tables_have_tasks_changes_win_rates_and_what_is_watched(tmp_path: Path) -> None:
    words = page_of(tmp_path).words
    for expected in ("counting", "colors", "mean of tasks", "0.500", "0.750", "+0.250", "tuned against base", "25.0%",
                     "size.kb (watched), lower is better", "-2.000", "+0.200"):  # fmt: skip
        assert expected in words, expected


def test_alarms_are_said_first_and_their_absence_too(tmp_path: Path) -> None:
    assert "No alarm." in page_of(tmp_path).words
    words = page_of(tmp_path, alarms=[("round 3", "sharpness fell")]).words
    assert "round 3: sharpness fell" in words
    assert "No alarm." not in words
    assert words.index("round 3: sharpness fell") < words.index("Strict accuracy by task")


def test_a_change_is_coloured_by_its_direction_only_where_its_interval_leaves_out_zero(tmp_path: Path) -> None:
    page_of(tmp_path)
    text = (tmp_path / PAGE_FILE).read_text()
    assert '<span class="value better">+0.200</span>' in text
    assert '<span class="value better">-2.000</span>' in text  # lower is better
    page_of(tmp_path, gain=0)
    assert '<span class="value ">+0.000</span>' in (tmp_path / PAGE_FILE).read_text()


def test_a_report_s_page_holds_it_against_the_base_where_both_are_of_the_same_images(tmp_path: Path) -> None:
    base, final = report(tmp_path / "base", 0), report(tmp_path / "final", 2)
    write_report_page(final, base, {"seed": "0"})
    assert "Base and round 3" in Page((final / PAGE_FILE).read_text()).words
    fewer = report(tmp_path / "fewer", 2, metrics={**METRICS, "images": 4})
    write_report_page(fewer, base, {"seed": "0"})
    words = Page((fewer / PAGE_FILE).read_text()).words
    assert "Round 3" in words
    assert "change" not in words, "nothing stands beside it"


def test_reports_of_other_prompts_are_refused(tmp_path: Path) -> None:
    reports = {"base": report(tmp_path / "base", 0), "tuned": report(tmp_path / "tuned", 2)}
    samples = reports["tuned"] / "samples.json"
    samples.write_text(samples.read_text().replace('"seed": 1', '"seed": 9'))
    with pytest.raises(DataError, match="different prompts"):
        write_page(
            tmp_path / PAGE_FILE, title="", facts={}, comparison=compare_reports(reports), reports=reports, alarms=[]
        )
