"""The report as one HTML page: result, curves, tables and pictures in a single file that needs nothing else."""

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from advantageflow.annotations import Image
from advantageflow.evaluation.comparison import compare_reports
from advantageflow.evaluation.curves import Line, Panel
from advantageflow.evaluation.fonts import page_font
from advantageflow.evaluation.labels import capitalised, judged_on, result
from advantageflow.evaluation.pictures import SAMPLE_PIXELS, Sample, enlarge, paired_samples, read_samples
from advantageflow.evaluation.report import BASE_FOLDER
from advantageflow.records import METRICS_FILE
from advantageflow.store.files import read_json, write_text

PAGE_FILE = "report.html"
_TEMPLATE = Path(__file__).with_name("template")
_LARGEST = 320  # pixels a side of an embedded picture; larger ones are shrunk
_SHOT = 150  # pixels that one picture takes on the page
_MOST_STEPS = 16  # evaluations that the slider goes through
_TABLES = ("strict", "soft")  # measures with a table by task; of the others one line each


def write_page(
    out: Path,
    *,
    title: str,
    subtitle: str = "",
    facts: Mapping[str, str],
    comparison: Mapping[str, Any],
    reports: Mapping[str, Path],
    reference: str | None = None,
    alarms: Sequence[tuple[str, str]],
    rounds: Mapping[str, Path] | None = None,
    panels: Sequence[Panel] = (),
    texts: Mapping[str, str] | None = None,
    costs: Sequence[Sequence[str]] = (),
    details: Mapping[str, str] | None = None,
) -> None:
    """Write the page.

    Args:
        title: heading: the result in a line.
        subtitle: what the result is of.
        facts: what it was made of, by name.
        reports: the compared reports, whose sample pictures are shown.
        reference: the one that changes are told against; the first if None.
        alarms: where (such as 'round 3') and what.
        rounds: reports that a slider goes through in place of the last one's pictures, in order.
        texts: of the prompts, by their ids; the hardest are shown where they are known.
        costs: a table: its head, rows, and their sum.
        details: long texts to unfold, by name, such as the settings.

    Raises:
        StoreError: a report or picture cannot be read, or the page not written.
        DataError: the reports show different prompts.
    """
    variants = comparison["variants"]
    first = next(iter(variants))
    reference = reference or first
    against = {pair["after"]: pair for pair in comparison["pairs"] if pair["before"] == reference}
    samples = paired_samples(reports)
    steps = _turned_over(samples, rounds or {})
    measures = [name for name in _TABLES if name in comparison["measures"]]
    text = _template().render(
        css=_as_it_is("page.css"),
        script=_as_it_is("page.js"),
        title=title,
        subtitle=subtitle,
        facts=facts,
        comparison=comparison,
        variants=variants,
        reference=reference,
        others=len(variants) > 1,
        against=against,
        gains=[
            pair
            for before in dict.fromkeys((reference, first))
            for pair in comparison["pairs"]
            if pair["before"] == before and pair["after"] in against
        ],
        tables=measures,
        further=[name for name in comparison["measures"] if name not in measures],
        tasks=list(variants[reference]["measures"][measures[0]]["tasks"]),
        statistics=list(variants[reference]["statistics"]),
        alarms=alarms,
        watching=any("base" in one for each in variants.values() for one in each["statistics"].values()),
        pictures=_pictures(samples, steps),
        steps=list(steps),
        judged=any(sample.correct is not None for of_one in samples.values() for sample, _ in of_one),
        crisp=any(picture.width <= SAMPLE_PIXELS for of_one in samples.values() for _, picture in of_one),
        cell=_SHOT * len(reports),
        panels=_curves(panels),
        hardest=[{**one, "text": texts[one["prompt_id"]]} for one in comparison["hardest"]] if texts else [],
        costs=costs,
        details=details or {},
    )
    write_text(out, text.replace("</style>", f"{page_font(text)}</style>", 1))


def write_report_page(
    folder: Path, base: Path | None, facts: Mapping[str, str], texts: Mapping[str, str] | None = None
) -> None:
    """Add to a report its page, against the base's where both are of the same images, as base and final are.

    `base` is the base's report, None for the base itself; facts, texts and errors are as of write_page.
    """
    metrics = read_json(folder / METRICS_FILE)
    base = folder / BASE_FOLDER if (folder / BASE_FOLDER).exists() else base
    name = f"round {metrics['round']}" if metrics["round"] else "start" if base is not None else "base"
    reports = {name: folder}
    if base is not None and metrics["images"] == read_json(base / METRICS_FILE)["images"]:
        reports = {"base": base, **reports}
    write_page(
        folder / PAGE_FILE,
        title=result(*(read_json(one / METRICS_FILE) for one in reports.values())),
        subtitle=" and ".join(reports),
        facts={**facts, **warned(metrics)},
        texts=texts,
        comparison=compare_reports(reports),
        reports=reports,
        alarms=alarms_of(name, metrics),
    )


def alarms_of(name: str, metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The alarms of an evaluation that is called `name`, for the page."""
    told = [str(alarm["message"]) for alarm in metrics.get("alarms", ())]
    told += [judged_on(metrics)] if metrics.get("dropped_images") else []
    return [(name, message) for message in told]


def warned(metrics: Mapping[str, Any]) -> dict[str, str]:
    """What a reader must know of the prompts, as a fact of the page; nothing where there is nothing to say."""
    return {"warning": "; ".join(metrics["warnings"])} if metrics.get("warnings") else {}


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    environment.filters |= {
        "capitalised": capitalised,
        "decimals": _decimals,
        "signed": lambda value: _decimals(value, "+"),
        "percent": lambda share: f"{share:.1%}",
        "verdict": _verdict,
        "beyond_half": lambda rate: _verdict({"ci95": [bound - 0.5 for bound in rate["ci95"]]}, True),
    }
    return environment.from_string((_TEMPLATE / "page.html").read_text(encoding="utf-8"))


def _as_it_is(name: str) -> Any:
    from markupsafe import Markup

    return Markup((_TEMPLATE / name).read_text(encoding="utf-8"))  # noqa: S704 - a file of this package


def _decimals(value: float, sign: str = "") -> str:
    """Three decimals, fewer for large numbers; never '-0.000'."""
    text = f"{value:{sign}z.3f}" if abs(value) < 100 else f"{value:{sign},.0f}"
    return text.replace("-", "+" if sign else "") if float(text.replace(",", "")) == 0 else text


def _verdict(interval: Mapping[str, Any], higher_is_better: bool) -> str:
    """'better' or 'worse' where the interval leaves out zero."""
    low, high = interval["ci95"]
    if low <= 0 <= high:
        return ""
    return "better" if (low > 0) == higher_is_better else "worse"


def _turned_over(
    samples: Mapping[str, Sequence[tuple[Sample, Image]]], rounds: Mapping[str, Path]
) -> dict[str, Sequence[tuple[Sample, Image]]]:
    """The pictures of each of these reports, in the order of `samples`; of many reports some, with first and last."""
    names = list(rounds)
    if len(names) > _MOST_STEPS:
        names = [names[round(place * (len(names) - 1) / (_MOST_STEPS - 1))] for place in range(_MOST_STEPS)]
    wanted = [(sample.prompt_id, sample.seed) for sample, _ in next(iter(samples.values()))]
    steps: dict[str, Sequence[tuple[Sample, Image]]] = {}
    for name in names:
        found = {(sample.prompt_id, sample.seed): (sample, picture) for sample, picture in read_samples(rounds[name])}
        if found.keys() >= set(wanted):  # an evaluation of fewer images may show other prompts
            steps[name] = [found[key] for key in wanted]
    return steps


def _pictures(
    samples: Mapping[str, Sequence[tuple[Sample, Image]]], steps: Mapping[str, Sequence[tuple[Sample, Image]]]
) -> list[dict[str, Any]]:
    """A row for each prompt, with a picture of each report, in place of the last one's those of all steps."""
    turned = dict(enumerate(steps.items())) if len(steps) > 1 else {}
    fixed = list(samples.items())[: -1 if turned else None]
    columns: list[tuple[str, Sequence[tuple[Sample, Image]], int | None]]
    columns = [(name, of_one, None) for name, of_one in fixed]
    columns += [(name, of_one, place) for place, (name, of_one) in turned.items()]
    return [
        {
            "text": sample.text,
            "task": sample.task,
            "shots": [
                {
                    "name": name,
                    "verdict": {True: "right", False: "wrong", None: ""}[of_one[number][0].correct],
                    "words": of_one[number][0].verdict,
                    "source": _embedded(of_one[number][1]),
                    "step": step,
                    "last": step == len(turned) - 1,
                }
                for name, of_one, step in columns
            ],
        }
        for number, (sample, _) in enumerate(next(iter(samples.values())))
    ]


def _curves(panels: Sequence[Panel]) -> str:
    """The panels as JSON that stands in a script element; what is not finite is null there."""
    from markupsafe import Markup

    def finite(value: float) -> float | None:
        return float(f"{value:.6g}") if math.isfinite(value) else None

    def points(line: Line) -> list[list[float | None]]:
        return [[at, finite(value), *map(finite, line.bands.get(at, ()))] for at, value in line.values.items()]

    told = [
        {
            **{name: getattr(panel, name) for name in ("title", "unit", "low", "high")},
            "marks": list(panel.marks.items()),
            "lines": [{"name": line.name, "points": points(line)} for line in panel.lines],
        }
        for panel in panels
    ]
    return Markup(json.dumps(told).replace("<", "\\u003c")) if told else ""  # noqa: S704 - "<" is escaped


def _embedded(picture: Image) -> str:
    """A small picture as it is, a large one shrunk and as JPEG, so that the page stays small; as a data URI."""
    buffer, kind = io.BytesIO(), "PNG" if max(picture.size) <= _LARGEST else "JPEG"
    if kind == "PNG":
        enlarge(picture).save(buffer, format=kind, optimize=True)
    else:
        picture = picture.copy()
        picture.thumbnail((_LARGEST, _LARGEST))
        picture.save(buffer, format=kind, quality=90)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
