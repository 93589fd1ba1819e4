"""What a run shows of itself at its end: one page with all of it, and its pictures as files."""

from collections.abc import Mapping, Sequence
from typing import Any

from advantageflow.evaluation.comparison import compare_reports
from advantageflow.evaluation.curves import run_panels
from advantageflow.evaluation.labels import result
from advantageflow.evaluation.page import PAGE_FILE, warned, write_page
from advantageflow.evaluation.pictures import sample_sheet
from advantageflow.rewards.plumbing.terms import term_name
from advantageflow.store.policies import read_policy_state
from advantageflow.store.prompts import read_prompts
from advantageflow.tracking.events import Event, run_curves
from advantageflow.tracking.provenance import provenance
from advantageflow_pipelines.local.costs import cost_table, stage_costs
from advantageflow_pipelines.local.workdir import WorkDir, read_report
from advantageflow_pipelines.pipelines import pipeline_of

SHEET_FILE = "before-after.png"


def write_report(workdir: WorkDir, events: Sequence[Event]) -> None:
    """Draw the pictures of a complete run into its report folder, and write the page that shows everything.

    Args:
        events: its journal's, for the curves that training told, and for what it cost.
    """
    settings, reports = workdir.settings, workdir.reports()
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
        subtitle=f"{workdir.root.name}: {settings.model.name}, {pipeline_of(settings).describe(settings)}",
        facts={**_facts(workdir), **warned(metrics[0])},
        comparison=compare_reports(compared),
        reports=compared,
        reference=before,
        rounds={f"round {number}" if number else before: folder for number, folder in reports.items()},
        panels=panels,
        texts={prompt.prompt_id: prompt.text for prompt in read_prompts(prompts)} if prompts else None,
        alarms=_alarms(metrics),
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


def _alarms(metrics: Mapping[int, Mapping[str, Any]]) -> list[tuple[str, str]]:
    return [(f"round {number}", a["message"]) for number, one in metrics.items() for a in one.get("alarms", ())]
