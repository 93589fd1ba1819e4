"""Whether a comparison is fair: every variant on the same model, prompts and evaluation, with as many images."""

from __future__ import annotations

from collections.abc import Sequence

from advantageflow.errors import SettingsError
from advantageflow.rewards.base import headline_column
from advantageflow.rewards.plumbing.registry import get_reward
from advantageflow.rewards.plumbing.terms import term_name
from advantageflow.settings import RunSettings, Settings
from advantageflow.suggestions import suggest
from advantageflow_experiments.compare.cells import Cell
from advantageflow_experiments.compare.plan import Plan
from advantageflow_pipelines.configuration.counts import images_of_a_run


def check_fairness(plan: Plan, cells: Sequence[Cell]) -> None:
    """Refuse a comparison whose variants differ in more than they may, or do not measure what is to be drawn.

    Args:
        plan: what is compared.
        cells: of one seed suffice.

    Raises:
        SettingsError: names the variant, what differs from the first one, and both values.
    """
    first, expected = cells[0], _conditions(cells[0].settings)
    for cell in cells[1:]:
        for what, found in _conditions(cell.settings).items():
            if found != expected[what]:
                raise SettingsError(
                    f"differs in {what} from variant '{first.variant}': {_difference(expected[what], found)}",
                    where=f"variant '{cell.variant}'",
                    remedy="make it the same in all variants; else the difference may be due to it",
                )
    for metric in (plan.pareto.x, plan.pareto.y) if plan.pareto else ():
        for cell in cells:
            _require_metric(cell, metric)


def _conditions(settings: RunSettings) -> dict[str, object]:
    """What must be equal in all variants."""
    reward = settings.reward
    return {
        "model": settings.model,
        "init_policy": settings.init_policy,
        "prompts": settings.prompts,
        "evaluation": settings.evaluation,
        "what judges held-out images": (
            reward.name, headline_column(get_reward(reward.name, reward.options), reward.column)
        ),
        "images generated (rounds x rollout.prompts_per_round x rollout.group_size)": images_of_a_run(settings),
    }  # fmt: skip


def _difference(expected: object, found: object) -> str:
    if not (isinstance(expected, Settings) and isinstance(found, Settings)):
        return f"{found} against {expected}"
    before, after = expected.model_dump(), found.model_dump()
    return ", ".join(f"{key} {after[key]} against {before[key]}" for key in after if after[key] != before[key])


def _require_metric(cell: Cell, metric: str) -> None:
    terms = [term_name(term) for term in cell.settings.reward.terms]
    known = ["strict", "soft", *(terms if len(terms) > 1 else [])]  # a single one is under strict or soft
    if metric not in known:
        message = f"variant '{cell.variant}' does not measure '{metric}'"
        remedy = f"{suggest(metric, known, what='its metrics')}; or add the reward to reward.others"
        raise SettingsError(message, where="pareto", remedy=remedy)
