"""The report as one HTML page: tables, win rates, pictures and curves in a single file that needs nothing else."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advantageflow.evaluation.comparison import compare_reports
from advantageflow.evaluation.samples import SAMPLE_PIXELS, Sample, enlarge, paired_samples
from advantageflow.records import METRICS_FILE
from advantageflow.store.files import read_json, writing

if TYPE_CHECKING:
    from PIL.Image import Image

PAGE_FILE = "report.html"
TEMPLATE = Path(__file__).with_name("page.html")
_LARGEST = 320  # pixels a side of an embedded picture; larger ones are shrunk
_SHOT = 150  # pixels that one picture takes on the page
_TABLES = ("strict", "soft")  # measures with a table by task; of the others one line each


def write_page(
    out: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    comparison: Mapping[str, Any],
    reports: Mapping[str, Path],
    alarms: Sequence[tuple[str, str]],
    figures: Sequence[tuple[str, Path]] = (),
    details: Mapping[str, str] | None = None,
) -> None:
    """Write the page.

    Args:
        out: HTML file to write.
        title: heading.
        facts: what a reader must know first, such as model and seed, by name.
        comparison: of compare_reports.
        reports: the compared reports, whose sample pictures are shown.
        alarms: where (such as 'round 3') and what.
        figures: further pictures with their headings, PNG files; embedded.
        details: long texts to unfold, by name, such as the settings.

    Raises:
        StoreError: a report or picture cannot be read, or the page not written.
        DataError: the reports show different prompts.
    """
    variants = comparison["variants"]
    reference = next(iter(variants))
    samples = paired_samples(reports)
    measures = [name for name in _TABLES if name in comparison["measures"]]
    text = _template().render(
        title=title,
        facts=facts,
        comparison=comparison,
        variants=variants,
        reference=reference,
        others=len(variants) > 1,
        against={pair["after"]: pair for pair in comparison["pairs"] if pair["before"] == reference},
        tables=measures,
        further=[name for name in comparison["measures"] if name not in measures],
        tasks=list(variants[reference]["measures"][measures[0]]["tasks"]),
        statistics=list(variants[reference]["statistics"]),
        alarms=alarms,
        watching=any("base" in one for each in variants.values() for one in each["statistics"].values()),
        pictures=_pictures(samples),
        judged=any(sample.correct is not None for of_one in samples.values() for sample, _ in of_one),
        crisp=any(picture.width <= SAMPLE_PIXELS for of_one in samples.values() for _, picture in of_one),
        cell=_SHOT * len(reports),
        figures=[(heading, _data_uri(path.read_bytes(), "png")) for heading, path in figures],
        details=details or {},
    )
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")


def write_report_page(folder: Path, base: Path | None, facts: Mapping[str, str]) -> None:
    """Write the page of one report, against the base's where both are of the same images, as base and final are.

    Args:
        folder: the report, to which the page is added.
        base: the base's report; None for the base itself.
        facts: what a reader must know first, by name.

    Raises:
        StoreError: a report cannot be read, or the page not written.
    """
    metrics = read_json(folder / METRICS_FILE)
    name = f"round {metrics['round']}" if metrics["round"] else "base"
    reports = {name: folder}
    if base is not None and metrics["images"] == read_json(base / METRICS_FILE)["images"]:
        reports = {"base": base, **reports}
    title = " and ".join(reports)
    write_page(
        folder / PAGE_FILE,
        title=title[:1].upper() + title[1:],
        facts={**facts, **warned(metrics)},
        comparison=compare_reports(reports),
        reports=reports,
        alarms=[(name, alarm["message"]) for alarm in metrics["alarms"]],
    )


def warned(metrics: Mapping[str, Any]) -> dict[str, str]:
    """What a reader must know of the prompts, as a fact of the page; nothing where there is nothing to say."""
    return {"warning": "; ".join(metrics["warnings"])} if metrics.get("warnings") else {}


def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    environment.filters |= {
        "decimals": _decimals,
        "signed": lambda value: _decimals(value, "+"),
        "percent": lambda share: f"{share:.1%}",
        "first_upper": lambda text: text[:1].upper() + text[1:],
        "verdict": _verdict,
        "beyond_half": lambda rate: _verdict({"ci95": [bound - 0.5 for bound in rate["ci95"]]}, True),
    }
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))


def _decimals(value: float, sign: str = "") -> str:
    """Three decimals, fewer for large numbers; never '-0.000'."""
    text = f"{value:{sign}.3f}" if abs(value) < 100 else f"{value:{sign},.0f}"
    return text.replace("-", "+" if sign else "") if float(text.replace(",", "")) == 0 else text


def _verdict(interval: Mapping[str, Any], higher_is_better: bool) -> str:
    """'better' or 'worse' where the interval leaves out zero."""
    low, high = interval["ci95"]
    if low <= 0 <= high:
        return ""
    return "better" if (low > 0) == higher_is_better else "worse"


def _pictures(samples: Mapping[str, Sequence[tuple[Sample, Image]]]) -> list[dict[str, Any]]:
    """A row for each prompt, with a picture of each report."""
    rows = []
    for row in zip(*samples.values(), strict=True):
        sample, _ = row[0]
        shots = [_shot(name, *one) for name, one in zip(samples, row, strict=True)]
        rows.append({"text": sample.text, "task": sample.task, "shots": shots})
    return rows


def _shot(name: str, sample: Sample, picture: Image) -> dict[str, str]:
    kind = {True: "right", False: "wrong", None: ""}[sample.correct]
    return {"name": name, "verdict": kind, "words": sample.verdict, "source": _embedded(picture)}


def _embedded(picture: Image) -> str:
    """A small picture as it is, a large one shrunk and as JPEG, so that the page stays small."""
    buffer = io.BytesIO()
    if max(picture.size) <= _LARGEST:
        enlarge(picture, SAMPLE_PIXELS).save(buffer, format="PNG", optimize=True)
        return _data_uri(buffer.getvalue(), "png")
    picture = picture.copy()
    picture.thumbnail((_LARGEST, _LARGEST))
    picture.save(buffer, format="JPEG", quality=90)
    return _data_uri(buffer.getvalue(), "jpeg")


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
