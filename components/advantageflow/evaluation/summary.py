"""An evaluation in a short Markdown page, which Kubeflow shows beside the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from advantageflow.evaluation.labels import further_terms, soft_label, strict_label
from advantageflow.store.files import writing


def write_summary(out: Path, metrics: Mapping[str, Any], alarms: Sequence[str]) -> None:
    """Write the page.

    Args:
        out: Markdown file to write.
        metrics: of the report.
        alarms: what a person must look at, in words.

    Raises:
        StoreError: it cannot be written.
    """
    title = "Base policy" if metrics["round"] == 0 else f"Policy after round {metrics['round']}"
    rows = [(strict_label(metrics), metrics["strict"], metrics["strict_ci95"])]
    soft = soft_label(metrics)
    rows += [(soft, metrics["soft"], metrics["soft_ci95"])] if soft is not None else []
    rows += [(name, term["mean"], term["ci95"]) for name, term in further_terms(metrics).items()]
    rows += [(f"task {task}", mean, metrics["tasks_ci95"][task]) for task, mean in metrics["tasks"].items()]
    lines = [
        f"# {title}",
        "",
        f"{metrics['images']} images of {metrics['prompts']} held-out prompts.",
        "",
        "| measure | mean | 95 % interval |",
        "|---|---|---|",
        *(f"| {name} | {mean:.3f} | {low:.3f} .. {high:.3f} |" for name, mean, (low, high) in rows),
        *(f"\n**Alarm:** {alarm}" for alarm in alarms),
    ]
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("\n".join(lines) + "\n", encoding="utf-8")
