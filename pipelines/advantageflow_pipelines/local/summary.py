"""What a run came to: summary.json, and the table that a person sees at the end."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from advantageflow.errors import StoreError
from advantageflow.evaluation.labels import SOFT, STRICT, soft_column, strict_column, strict_label
from advantageflow.evaluation.page import PAGE_FILE
from advantageflow.evaluation.report import read_outcomes
from advantageflow.evaluation.statistics import difference
from advantageflow.settings import RunSettings
from advantageflow.store.files import read_json
from advantageflow.tracking.reading import read_events
from advantageflow.training.publication import policy_url
from advantageflow_pipelines.local.costs import stage_costs, useful_seconds
from advantageflow_pipelines.local.results import policy_folders, read_report, report_folders
from advantageflow_pipelines.local.workdir import WorkDir
from advantageflow_pipelines.pipelines.work import images_of_a_round
from advantageflow_pipelines.say import print_table, say

if TYPE_CHECKING:
    from advantageflow.tracking.promotion import Conclusion

VARYING = ("seconds", "training_seconds", "overhead", "cost", "mlflow_run_id", "registered", "outcome")
"""Keys that differ between two equal runs; everything else in a summary is a function of the settings."""

SHOWN = {"base", "final", "difference", "overhead", "seconds", "policy_sha256"}
_REPORTED = ("images", "strict", "strict_ci95", "soft", "tasks", "tasks_ci95")


def make_summary(
    workdir: WorkDir, settings: RunSettings, *, seconds: float, overhead: dict[str, Any]
) -> dict[str, Any]:
    """Summarise a complete run from its artifacts.

    Args:
        workdir: the run.
        settings: its settings.
        seconds: how long it took, attempts added up.
        overhead: of `measure_overhead`.

    Raises:
        PolicyError: the weights that the run ends with are not those that were trained.
    """
    from advantageflow.policy.saved import read_policy  # heavy

    reports = report_folders(workdir, settings)
    metrics = {number: read_report(folder) for number, folder in reports.items()}
    last = max(metrics)
    policy = read_policy(policy_folders(workdir, settings)[last]).state
    change = difference(read_outcomes(reports[0]), read_outcomes(reports[last]), "strict").overall
    store = settings.store.url
    return {
        "preset": settings.preset,
        "pipeline": settings.pipeline,
        "algorithm": settings.training.objective.name,
        "seed": settings.seed,
        "seconds": round(seconds, 1),
        "policy_sha256": policy.policy_sha256,
        **({} if store is None else {"policy_url": policy_url(store, policy)}),
        "base": reported(metrics[0]),
        "final": reported(metrics[last]),
        "difference": {"strict": change.mean, "strict_ci95": change.ci95},  # on equal prompts and seeds
        "rounds": round_entries(workdir, settings),
        "overhead": overhead,
        "cost": stage_costs(read_events(workdir.journal)),
    }


def with_records(summary: dict[str, Any], mlflow_run_id: str | None, conclusion: Conclusion | None) -> dict[str, Any]:
    """A summary with the run in MLflow and what became of the policy in its registry; None where they are not there."""
    outcome = {} if conclusion is None else {"registered": conclusion.address, "outcome": str(conclusion)}
    return {**summary, "mlflow_run_id": mlflow_run_id, **outcome}


def round_entries(workdir: WorkDir, settings: RunSettings) -> list[dict[str, Any]]:
    """What each evaluated round came to, and cost up to there; of a run that stopped early, the rounds it reached.

    `generated`: rollouts so far. `training_seconds`: useful work so far, see useful_seconds.
    """
    per_round, seconds = images_of_a_round(settings), useful_seconds(read_events(workdir.journal), settings)
    return [
        {
            "round": number,
            "generated": number * per_round,
            "training_seconds": round(sum(spent for index, spent in seconds.items() if index <= number), 2),
            **reported(read_report(folder)),
        }
        for number, folder in report_folders(workdir, settings).items()
        if number > 0
    ]


def base_entry(workdir: WorkDir, settings: RunSettings) -> dict[str, Any] | None:
    """What the base model came to; None if it was not evaluated yet."""
    folder = report_folders(workdir, settings).get(0)
    return None if folder is None else reported(read_report(folder))


def read_summary(workdir: WorkDir) -> dict[str, Any] | None:
    """The summary of a complete run; None if it is not complete.

    Raises:
        StoreError: it is damaged.
    """
    if not workdir.summary_file.exists():
        return None
    remedy = f"write it again with: advantageflow run --resume {workdir.root}"
    try:
        summary = read_json(workdir.summary_file)
    except StoreError as error:
        raise StoreError(error.message, where=error.where, remedy=remedy) from error
    if not summary.keys() >= SHOWN:
        raise StoreError("not the summary of a run", where=str(workdir.summary_file), remedy=remedy)
    return summary


def is_complete(workdir: WorkDir, settings: RunSettings, warn: Callable[[str], None]) -> dict[str, Any] | None:
    """The summary of a run of which nothing needs to be made again; None where something does, which is told.

    Raises:
        PolicyError: the weights that it ends with are not those that were trained.
    """
    try:
        summary = read_summary(workdir)
    except StoreError as error:
        warn(f"{error.message}; it is written again")
        return None
    if summary is None:
        return None
    from advantageflow.policy.saved import read_policy  # heavy

    policies = policy_folders(workdir, settings)
    if not policies or read_policy(policies[max(policies)]).state.policy_sha256 != summary["policy_sha256"]:
        warn("the policy that the run ended with is gone; it is made again")
        return None
    return summary


def comparable(summary: Any) -> Any:
    """A summary without what differs between two equal runs (timings and ids)."""
    if isinstance(summary, dict):
        return {key: comparable(value) for key, value in summary.items() if key not in VARYING}
    return [comparable(item) for item in summary] if isinstance(summary, list) else summary


def show_summary(console: Console, workdir: WorkDir, summary: dict[str, Any]) -> None:
    """Print the table base -> final by task, what the run took, and where to look."""
    base, final, difference = summary["base"], summary["final"], summary["difference"]
    table = Table(title=f"{strict_label(final)} on {final['images']} held-out images", title_justify="left")
    for name, justify in (("task", "left"), ("base", "right"), ("final", "right"), ("change", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for task, accuracy in final["tasks"].items():
        before = base["tasks"].get(task, math.nan)
        table.add_row(task.replace("_", " "), f"{before:.3f}", f"{accuracy:.3f}", f"{accuracy - before:+.3f}")
    table.add_section()
    table.add_row(
        "mean of tasks", f"{base['strict']:.3f}", f"{final['strict']:.3f}", f"{difference['strict']:+.3f}", style="bold"
    )
    table.add_row("95% interval", *(_interval(part["strict_ci95"]) for part in (base, final, difference)), style="dim")
    if final.get("terms") or final.get("watched"):
        table.add_section()
    for name, term in final.get("terms", {}).items():
        before, after = base["terms"][name]["mean"], term["mean"]
        table.add_row(name, f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}")
    for name, term in final.get("watched", {}).items():
        before, after = base["watched"][name]["mean"], term["mean"]
        table.add_row(f"{name} (watched)", f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}")
    print_table(console, table)
    for entry in summary.get("rounds", ()):
        for alarm in entry.get("alarms", ()):
            say(console, f"alarm, round {entry['round']}: {alarm['message']}", style="bold red")
    if "held_out_prompts" in final:
        judged = f"judged: {final['prompts']} of the {final['held_out_prompts']} held-out prompts"
        say(console, f"{judged}; more need a higher evaluation.images")
    say(console, _time_taken(summary["seconds"], summary["overhead"]))
    if "policy_url" in summary:
        say(console, f"policy:   {summary['policy_url']}")
    if "outcome" in summary:
        say(console, f"policy:   {summary['outcome']}")
    say(console, f"results:  {workdir.summary_file}", f"report:   {workdir.report / PAGE_FILE}")


def reported(metrics: dict[str, Any]) -> dict[str, Any]:
    """The part of a report that a summary repeats; what is not usual only where it is so."""
    part = {key: metrics[key] for key in _REPORTED if key in metrics}
    if metrics.get("held_out_prompts", 0) > metrics.get("prompts", 0):  # too few images for each to have one
        part |= {key: metrics[key] for key in ("prompts", "held_out_prompts")}
    if (strict_column(metrics), soft_column(metrics)) != (STRICT, SOFT):
        part |= {"strict_column": strict_column(metrics), "soft_column": soft_column(metrics)}
    if len(metrics.get("terms", {})) > 1:
        part["terms"] = metrics["terms"]
    if metrics.get("watched"):
        part["watched"] = metrics["watched"]
    if metrics.get("alarms"):
        part["alarms"] = metrics["alarms"]
    return part


def _time_taken(seconds: float, cost: dict[str, Any]) -> str:
    """One line; a run that was continued has its overhead measured in the last attempt."""
    whole = f"{seconds:.0f} s"
    if seconds - cost["of_seconds"] > 1:
        whole += f", the last attempt {cost['of_seconds']:.0f} s"
    return (
        f"{whole}, {cost['share']:.0%} of it overhead: {cost['seconds']:.1f} s from process starts to useful work, "
        f"{cost['between_tasks']:.1f} s between tasks"
    )


def _interval(bounds: list[float]) -> str:
    return f"{bounds[0]:.3f} .. {bounds[1]:.3f}"
