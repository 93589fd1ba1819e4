"""What a run came to: summary.json, one page with all of it, and the table that a person sees at the end."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from advantageflow.errors import StoreError
from advantageflow.evaluation.comparison import compare_reports
from advantageflow.evaluation.curves import run_panels
from advantageflow.evaluation.labels import SOFT, STRICT, judged_on, result, soft_column, strict_column, strict_label
from advantageflow.evaluation.page import PAGE_FILE, alarms_of, warned, write_page
from advantageflow.evaluation.pictures import sample_sheet
from advantageflow.evaluation.report import read_outcomes
from advantageflow.evaluation.statistics import difference
from advantageflow.rewards.plumbing.terms import term_name
from advantageflow.store.files import read_json
from advantageflow.store.policies import read_policy_state
from advantageflow.store.prompts import read_prompts
from advantageflow.tracking.events import Event, read_events, run_curves
from advantageflow.tracking.provenance import provenance
from advantageflow.training.stage import policy_url
from advantageflow_pipelines.local.tasks import cost_table, stage_costs, useful_seconds
from advantageflow_pipelines.local.workdir import WorkDir, read_report
from advantageflow_pipelines.pipelines import pipeline_of
from advantageflow_pipelines.pipelines.definition import images_of_a_round
from advantageflow_pipelines.say import print_table, say

SHEET_FILE = "before-after.png"
SHOWN = {"base", "final", "difference", "overhead", "seconds", "policy_sha256"}
_REPORTED = ("images", "dropped_images", "strict", "strict_ci95", "soft", "tasks", "tasks_ci95")


def make_summary(workdir: WorkDir, *, seconds: float, overhead: dict[str, Any]) -> dict[str, Any]:
    """Summarise a complete run from its artifacts.
    Raises PolicyError: the weights that the run ends with are not those that were trained; StoreError: a file is lost.

    'start' is the policy that a continued run goes on from; 'difference' is to it, or else to the base, image by image
    on equal prompts and noise.

    Args:
        seconds: how long it took, attempts added up.
    """
    from advantageflow.policy.saved import read_policy  # heavy

    workdir.check_whole()
    settings, reports = workdir.settings, workdir.reports()
    metrics = {number: read_report(folder) for number, folder in reports.items()}
    last = max(metrics)
    policy = read_policy(workdir.policies()[last]).state
    base, *start, final = workdir.compared_reports().values()
    compared = {"difference": start[-1] if start else base} | ({"difference_to_base": base} if start else {})
    outcomes = read_outcomes(final)
    changes = {key: difference(read_outcomes(one), outcomes, "strict").overall for key, one in compared.items()}
    store = settings.store.url
    return {
        "preset": settings.preset,
        "pipeline": settings.pipeline,
        "algorithm": settings.training.objective.name,
        "seed": settings.seed,
        "seconds": round(seconds, 1),
        "policy_sha256": policy.policy_sha256,
        **({} if store is None else {"policy_url": policy_url(store, policy)}),
        "base": reported(read_report(base)),
        **({"start": reported(metrics[0])} if start else {}),
        "final": reported(metrics[last]),
        **{name: {"strict": one.mean, "strict_ci95": one.ci95} for name, one in changes.items()},
        "rounds": round_entries(workdir),
        "overhead": overhead,
        "cost": stage_costs(read_events(workdir.journal)),
    }


def round_entries(workdir: WorkDir) -> list[dict[str, Any]]:
    """What each evaluated round came to, and cost up to there; of a run that stopped early, the rounds it reached.

    `generated`: rollouts so far. `training_seconds`: useful work so far, see useful_seconds.
    """
    per_round = images_of_a_round(workdir.settings)
    seconds = useful_seconds(read_events(workdir.journal), workdir.settings)
    return [
        {
            "round": number,
            "generated": number * per_round,
            "training_seconds": round(sum(spent for index, spent in seconds.items() if index <= number), 2),
            **reported(read_report(folder)),
        }
        for number, folder in workdir.reports().items()
        if number > 0
    ]


def read_summary(workdir: WorkDir) -> dict[str, Any] | None:
    """The summary of a complete run; None if it is not complete.
    Raises StoreError: it is damaged.
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


def is_complete(workdir: WorkDir, warn: Callable[[str], None]) -> dict[str, Any] | None:
    """The summary of a run of which nothing needs to be made again; None where something does, which is told.
    Raises PolicyError: the weights that it ends with are not those that were trained; StoreError: a file is lost.
    """
    try:
        summary = read_summary(workdir)
    except StoreError as error:
        warn(f"{error.message}; it is written again")
        return None
    if summary is None:
        return None
    from advantageflow.policy.saved import read_policy  # heavy

    workdir.check_whole()
    policies = workdir.policies()
    if not policies or read_policy(policies[max(policies)]).state.policy_sha256 != summary["policy_sha256"]:
        warn("the policy that the run ended with is gone; it is made again")
        return None
    return summary


def show_summary(console: Console, workdir: WorkDir, summary: dict[str, Any]) -> None:
    """Print the table base -> final by task, what the run took, and where to look.

    Of a run that goes on from another's policy, that one too, which changes are told against.
    """
    final, difference = summary["final"], summary["difference"]
    shown = {name: summary[name] for name in ("base", "start", "final") if name in summary}
    before = list(shown.values())[-2]
    table = Table("task", title=f"{strict_label(final)} on {judged_on(final)}", title_justify="left")
    for name in (*shown, "change"):
        table.add_column(name, justify="right")

    def row(name: str, values: Sequence[float], change: float, style: str = "") -> None:
        table.add_row(name, *(f"{value:.3f}" for value in values), f"{change:+z.3f}", style=style)

    for task, accuracy in final["tasks"].items():
        values = [one["tasks"].get(task, math.nan) for one in shown.values()]
        row(task, values, accuracy - before["tasks"].get(task, math.nan))
    table.add_section()
    row("mean of tasks", [one["strict"] for one in shown.values()], difference["strict"], "bold")
    intervals = (_interval(part["strict_ci95"]) for part in (*shown.values(), difference))
    table.add_row("95% interval", *intervals, style="dim")
    if final.get("terms") or final.get("watched"):
        table.add_section()
    for kind, mark in (("terms", ""), ("watched", " (watched)")):
        for name, term in final.get(kind, {}).items():
            means = [one[kind][name]["mean"] for one in shown.values()]
            row(f"{name}{mark}", means, term["mean"] - before[kind][name]["mean"])
    print_table(console, table)
    if (whole := summary.get("difference_to_base")) is not None:
        say(console, f"change from the base: {whole['strict']:+z.3f} ({_interval(whole['strict_ci95'])})")
    for entry in summary.get("rounds", ()):
        for alarm in entry.get("alarms", ()):
            say(console, f"alarm, round {entry['round']}: {alarm['message']}", style="bold red")
    if "held_out_prompts" in final:
        judged = f"judged: {final['prompts']} of the {final['held_out_prompts']} held-out prompts"
        say(console, f"{judged}; more need a higher evaluation.images")
    say(console, _time_taken(summary["seconds"], summary["overhead"]))
    for key in ("policy_url", "outcome"):
        if key in summary:
            say(console, f"policy:   {summary[key]}")
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
    return part | {key: metrics[key] for key in ("watched", "alarms") if metrics.get(key)}


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
    return f"{bounds[0]:z.3f} .. {bounds[1]:z.3f}"


def write_report(workdir: WorkDir, events: Sequence[Event]) -> None:
    """Draw the pictures of a complete run into its report folder, and write the page that shows everything.

    Args:
        events: its journal's, for the curves that training told, and for what it cost.
    """
    settings, reports = workdir.settings, workdir.reports()
    name = settings.tracking.name or workdir.root.name
    metrics = {number: read_report(folder) for number, folder in reports.items()}
    last = max(reports)
    compared = workdir.compared_reports()
    *_, before, _ = compared
    panels = run_panels(list(metrics.values()), run_curves(events))
    prompts = workdir.prompts()
    sample_sheet(compared, workdir.report / SHEET_FILE, columns=3)
    write_page(
        workdir.report / PAGE_FILE,
        title=result(metrics[0], metrics[last]),
        subtitle=f"{name}: {settings.model.name}, {pipeline_of(settings).describe(settings)}",
        facts={**_facts(workdir), **warned(metrics[0])},
        comparison=compare_reports(compared),
        reports=compared,
        reference=before,
        rounds={f"round {number}" if number else before: folder for number, folder in reports.items()},
        panels=panels,
        texts={prompt.prompt_id: prompt.text for prompt in read_prompts(prompts)} if prompts else None,
        alarms=[told for number, one in metrics.items() for told in alarms_of(f"round {number}", one)],
        costs=cost_table(
            stage_costs(events), metrics[last]["strict"] - metrics[0]["strict"], settings.tracking.gpu_price
        ),
        details={"Settings of the run": workdir.settings_file.read_text(encoding="utf-8")},
    )


def _facts(workdir: WorkDir) -> dict[str, str]:
    settings, policies, made_by = workdir.settings, workdir.policies(), provenance()
    evaluation, model, state = settings.evaluation, settings.model, read_policy_state(policies[max(policies)])
    packages = {name.removeprefix("version."): value for name, value in made_by.items() if name.startswith("version.")}
    facts: dict[str, Any] = {
        "preset": settings.preset,
        "model": f"{model.name} at {model.revision}" if model.revision else model.name,
        "weights of the base (SHA-256)": state.base_sha256,
        "policy (SHA-256)": state.policy_sha256,
        "started from": settings.init_policy,
        "trained on": ", ".join(term_name(term) for term in settings.reward.terms),
        "watched": ", ".join(term_name(term) for term in settings.reward.watched),
        "objective": settings.training.objective.name,
        "seed": str(settings.seed),
        "rollouts": f"{settings.rounds} x {settings.rollout.prompts_per_round} x {settings.rollout.group_size}",
        "evaluated with": f"{evaluation.sampler}, {evaluation.steps} steps, guidance {evaluation.guidance_scale:g}",
        "git revision": made_by.get("mlflow.source.git.commit"),
        "packages": ", ".join(f"{name} {value}" for name, value in packages.items()),
        "machine": f"Python {made_by['python']}, {made_by['platform']}",
    }
    return {name: str(value) for name, value in facts.items() if value}
