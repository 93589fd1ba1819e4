"""The report page: complete, safe, and in need of no other file."""

from __future__ import annotations

import base64
import io
import json
import math
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fontTools.ttLib import TTFont
from PIL import Image

from advantageflow.errors import DataError
from advantageflow.evaluation.comparison import compare_reports
from advantageflow.evaluation.curves import Line, Panel
from advantageflow.evaluation.page import PAGE_FILE, write_page, write_report_page
from advantageflow.evaluation.pictures import Sample
from advantageflow.evaluation.report import write_report
from advantageflow.evaluation.statistics import Outcome

PANELS = [Panel("</script>", "", [Line("reward", {0: 0.5, 1: 0.75, 2: math.nan}, {0: (0.4, 0.6), 1: (0.7, 0.8)})])]
WORDS = 'a <b>bold</b> & "quoted" <script>parent.obeyed = 1</script><img src=x onerror="parent.obeyed = 1"> circle'
METRICS: dict[str, Any] = {
    "images": 8, "strict": 0.5, "prompts": 4, "round": 3, "alarms": [], "tasks": {},
    "terms": {"shapes.soft": {"mean": 0.5, "reward": "shapes", "column": "soft", "higher_is_better": True}},
    "watched": {"size.kb": {"mean": 3.0, "reward": "size", "column": "kb", "higher_is_better": False}},
    "statistics": {"sharpness": {"mean": 0.02, "base": 0.03}},
}  # fmt: skip


SCREENS = """<iframe width=390 height=800 src=REPORT></iframe>
<iframe width=1280 height=800 style="color-scheme: dark" src=REPORT></iframe><script>
addEventListener("load", () => {
  document.title = JSON.stringify([...document.querySelectorAll("iframe")].map((frame) => {
    const page = frame.contentDocument, all = (what) => [...page.querySelectorAll(what)];
    const slider = page.querySelector(".slider input");
    slider.value = 1;
    slider.oninput();
    const change = all("thead th").find((head) => head.textContent === "change").getBoundingClientRect();
    return {
      curves: all("polyline").length, points: all("circle").length,
      steps: all("[data-step]").filter((shot) => shot.offsetWidth > 0).map((shot) => shot.dataset.step),
      change: change.right <= frame.width, sideways: page.documentElement.scrollWidth > frame.width,
      paper: getComputedStyle(page.body).backgroundColor, obeyed: Boolean(window.obeyed),
    };
  }));
});
</script>"""


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
        if tag not in ("meta", "img", "br", "link", "input"):
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
    page = page_of(tmp_path, panels=PANELS)
    assert len(page.sources) == 3 * 2
    for source in page.sources:
        kind, _, content = source.partition(";base64,")
        assert kind in ("data:image/png", "data:image/jpeg")
        Image.open(io.BytesIO(base64.b64decode(content))).verify()
    assert not page.seen & {"link", "iframe", "object"}
    text = (tmp_path / PAGE_FILE).read_text().replace("http://www.w3.org/2000/svg", "")
    assert not any(word in text for word in ("url(", "http", "fetch(", "import("))


def test_letters_that_machines_lack_come_with_the_page(tmp_path: Path) -> None:
    page_of(tmp_path, title="红色圆圈, κύκλος, круг")
    kind, _, content = (tmp_path / PAGE_FILE).read_text().partition('url("')[2].partition('")')[0].partition(";base64,")
    assert kind == "data:font/ttf"
    with TTFont(io.BytesIO(base64.b64decode(content))) as font:
        assert set(map(chr, font.getBestCmap())) == set("红色圆圈")


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


def test_of_three_policies_changes_are_told_against_the_reference_and_the_first(tmp_path: Path) -> None:
    reports = {name: report(tmp_path / name, gain) for name, gain in (("base", 0), ("start", 1), ("final", 3))}
    write_page(tmp_path / PAGE_FILE, title="", facts={}, comparison=compare_reports(reports), reports=reports,
               reference="start", alarms=[])  # fmt: skip
    text = (tmp_path / PAGE_FILE).read_text()
    cards = [card.partition("<")[0] for card in text.split('<div class="card">')[1:]]
    assert cards == ["base", "start", "final", "change from start", "change from base"]
    assert [part.count("<th>change</th>") for part in text.split("<table>")][1:3] == [1, 1]


def test_the_hardest_prompts_come_first_with_their_texts(tmp_path: Path) -> None:
    words = page_of(tmp_path, texts={f"id{n}": f"prompt {n}" for n in range(4)}).words
    shown = [word for word in words if word.startswith("prompt ")]
    assert shown == ["prompt 2", "prompt 3", "prompt 0", "prompt 1"]


def test_curves_stand_in_the_page_as_data_that_is_no_markup(tmp_path: Path) -> None:
    page_of(tmp_path, panels=PANELS)
    text = (tmp_path / PAGE_FILE).read_text()
    [panel] = json.loads(text.partition('id="curves">')[2].partition("</script>")[0])
    assert panel["title"] == "</script>"
    assert panel["lines"] == [{"name": "reward", "points": [[0, 0.5, 0.4, 0.6], [1, 0.75, 0.7, 0.8], [2, None]]}]


def test_a_slider_goes_through_the_rounds_that_show_the_same_prompts(tmp_path: Path) -> None:
    rounds = {f"round {n}": report(tmp_path / f"r{n}", n) for n in range(3)}
    page = page_of(tmp_path, rounds=rounds)
    assert len(page.sources) == 3 * (1 + 3), "base, and each round"
    assert {"base: correct", "round 0: correct", "round 2: wrong"} <= set(page.words)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs a browser")
def test_a_browser_shows_curves_the_slider_s_round_and_the_change_on_a_phone_and_in_the_dark(tmp_path: Path) -> None:
    rounds = {f"round {n}": report(tmp_path / f"r{n}", n) for n in range(3)}
    page_of(tmp_path, rounds=rounds, panels=PANELS)
    (tmp_path / "screens.html").write_text(SCREENS.replace("REPORT", PAGE_FILE))
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
               "--allow-file-access-from-files", f"--user-data-dir={tmp_path}", "--virtual-time-budget=2000",
               "--dump-dom", f"file://{tmp_path / 'screens.html'}"]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    phone, dark = json.loads(shown.partition("<title>")[2].partition("</title>")[0])
    papers = [screen.pop("paper") for screen in (phone, dark)]
    as_wanted = {"curves": 1, "points": 2, "steps": ["1"] * 3, "change": True, "sideways": False, "obeyed": False}
    assert phone == dark == as_wanted
    assert papers == ["rgb(255, 255, 255)", "rgb(13, 17, 23)"]


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
    assert "base and round 3" in Page((final / PAGE_FILE).read_text()).words
    fewer = report(tmp_path / "fewer", 2, metrics={**METRICS, "images": 4})
    write_report_page(fewer, base, {"seed": "0"})
    words = Page((fewer / PAGE_FILE).read_text()).words
    assert "round 3" in words
    assert "change" not in words, "nothing stands beside it"


def test_reports_of_other_prompts_are_refused(tmp_path: Path) -> None:
    reports = {"base": report(tmp_path / "base", 0), "tuned": report(tmp_path / "tuned", 2)}
    samples = reports["tuned"] / "samples.json"
    samples.write_text(samples.read_text().replace('"seed": 1', '"seed": 9'))
    with pytest.raises(DataError, match="different prompts"):
        write_page(
            tmp_path / PAGE_FILE, title="", facts={}, comparison=compare_reports(reports), reports=reports, alarms=[]
        )
