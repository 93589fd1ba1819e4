"""Whether a comparison is fair: every variant on the same model, prompts and evaluation, with as many images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from advantageflow.errors import SettingsError
from advantageflow.rewards.plumbing.headline import headline_column
from advantageflow.rewards.plumbing.registry import get_reward
from advantageflow.rewards.plumbing.terms import term_name
from advantageflow.settings import RunSettings, Settings
from advantageflow.suggestions import suggest
from advantageflow_experiments.compare.cells import Cell
from advantageflow_experiments.compare.plan import Plan
from advantageflow_pipelines.configuration.counts import images_of_a_run

_SAME: tuple[tuple[str, Callable[[RunSettings], object]], ...] = (
    ("model", lambda settings: settings.model),
    ("init_policy", lambda settings: settings.init_policy),
    ("prompts", lambda settings: settings.prompts),
    ("evaluation", lambda settings: settings.evaluation),
    ("what judges held-out images", lambda settings: _judge(settings)),
)


def check_fairness(cells: Sequence[Cell], *, unequal_images: bool = False) -> None:
    """Refuse a comparison whose variants differ in more than they may.

    Args:
        cells: of one seed suffice.
        unequal_images: let variants generate different numbers of images.

    Raises:
        SettingsError: names the variant, what differs from the first one, and both values.
    """
    first = cells[0]
    for cell in cells[1:]:
        for what, part in _SAME:
            _require_equal(first, cell, what, part)
        if not unequal_images:
            _require_equal_images(first, cell)


def check_metrics(plan: Plan, cells: Sequence[Cell]) -> None:
    """Refuse a plan whose metrics its runs do not measure.

    Raises:
        SettingsError: names the metric and the variant that lacks it.
    """
    for metric in (plan.pareto.x, plan.pareto.y) if plan.pareto else ():
        for cell in cells:
            terms = [term_name(term) for term in cell.settings.reward.terms]
            known = ["strict", "soft", *(terms if len(terms) > 1 else [])]  # a single one is under strict or soft
            if metric not in known:
                message = f"variant '{cell.variant}' does not measure '{metric}'"
                remedy = f"{suggest(metric, known, what='its metrics')}; or add the reward to reward.others"
                raise SettingsError(message, where="pareto", remedy=remedy)


def _require_equal(first: Cell, other: Cell, what: str, part: Callable[[RunSettings], object]) -> None:
    one, two = part(first.settings), part(other.settings)
    if one == two:
        return
    raise SettingsError(
        f"differs in {what} from variant '{first.variant}': {_difference(one, two)}",
        where=f"variant '{other.variant}'",
        remedy="give all variants the same under 'common'; else the difference may be due to it",
    )


def _require_equal_images(first: Cell, other: Cell) -> None:
    one, two = images_of_a_run(first.settings), images_of_a_run(other.settings)
    if one == two:
        return
    raise SettingsError(
        f"generates {two:,} images ({_product(other.settings)}), variant '{first.variant}' {one:,} "
        f"({_product(first.settings)})",
        where=f"variant '{other.variant}'",
        remedy="make rounds x rollout.prompts_per_round x rollout.group_size equal; "
        "or write 'unequal_images: true' into the plan, if accuracy over images is what you ask for",
    )


def _judge(settings: RunSettings) -> tuple[str, str]:
    """The reward and the column that reports are headed by."""
    reward = settings.reward
    return reward.name, headline_column(get_reward(reward.name, reward.options), reward.column)


def _product(settings: RunSettings) -> str:
    return f"{settings.rounds} x {settings.rollout.prompts_per_round} x {settings.rollout.group_size}"


def _difference(one: object, two: object) -> str:
    if not (isinstance(one, Settings) and isinstance(two, Settings)):
        return f"{two} against {one}"
    before, after = one.model_dump(), two.model_dump()
    return ", ".join(f"{key} {after[key]} against {before[key]}" for key in after if after[key] != before[key])
