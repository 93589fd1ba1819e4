"""The cells of a comparison: a run for each variant and seed, all found right and fair before any of them starts."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from advantageflow.configure import load_settings
from advantageflow.errors import SettingsError
from advantageflow.rewards.base import headline_column
from advantageflow.rewards.plumbing.registry import get_reward
from advantageflow.rewards.plumbing.terms import term_name
from advantageflow.settings import RunSettings, Settings
from advantageflow.suggestions import suggest
from advantageflow.yaml_text import parse_yaml
from advantageflow_experiments.compare.plan import Assignments, Plan, Variant, make_plan
from advantageflow_pipelines.configuration.choices import with_absolute_paths
from advantageflow_pipelines.pipelines.definition import images_of_a_run


@dataclass(frozen=True)
class Cell:
    """One run of a comparison: a variant, by its name, and all settings, the seed among them."""

    variant: str
    settings: RunSettings

    @property
    def seed(self) -> int:
        return self.settings.seed

    @property
    def name(self) -> str:
        """Its folder's name, such as 'awm-seed1'."""
        return cell_name(self.variant, self.seed)


def cell_name(variant: str, seed: int) -> str:
    """What a cell's files are called."""
    return f"{variant}-seed{seed}"


def make_cells(plan: Plan, experiment: str) -> list[Cell]:
    """Every cell of a plan, seed by seed, so that a comparison stopped early has compared all variants.
    Raises SettingsError: a setting is unknown or out of range, or two variants are the same; names the variant.

    Args:
        experiment: MLflow experiment that all cells are recorded in, each under its own name.
    """
    variants = plan.named_variants()
    cells = [
        Cell(name, _settings(plan, name, variant, seed, experiment))
        for seed in plan.seeds
        for name, variant in variants.items()
    ]
    seen: dict[str, str] = {}
    for cell in cells:
        twin = seen.setdefault(cell.settings.model_dump_json(exclude={"tracking"}), cell.variant)
        if twin != cell.variant:
            message = f"variants '{twin}' and '{cell.variant}' have the same settings"
            raise SettingsError(message, where="variants", remedy="remove one, or change what it assigns")
    return cells


def with_choices(
    plan: Plan,
    assignments: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    variants: Sequence[str] | None = None,
) -> Plan:
    """The plan with what the command line says.
    Raises SettingsError: a text is not an assignment, or changes what the variants differ in; a variant is unknown.

    Args:
        assignments: texts 'a.b=value', for all variants.
        seeds: instead of the plan's.
        variants: names of those that run, the one that the others are compared with first; None takes all.
    """
    if variants is not None:
        plan = plan.model_copy(update={"variants": _only(plan, variants)})
    changes = dict(_change(plan, text) for text in assignments)
    common = {key: value for key, value in plan.common.items() if key not in changes} | changes
    chosen = plan.seeds if seeds is None else tuple(seeds)
    return make_plan({**dict(plan), "common": common, "seeds": chosen}, {"seeds": "--seeds"})


def _only(plan: Plan, names: Sequence[str]) -> dict[str, Variant]:
    where = f"--variants {','.join(names)}"
    if plan.grid is not None:
        remedy = "save what --show prints, change its rows or columns, and give the file's path"
        raise SettingsError("this plan is a grid, which is drawn as a whole", where=where, remedy=remedy)
    for name in names:
        if name not in plan.variants:
            remedy = suggest(name, plan.variants, what="plan's variants")
            raise SettingsError(f"the plan has no variant '{name}'", where=where, remedy=remedy)
    return {name: plan.variants[name] for name in names}


def _change(plan: Plan, text: str) -> tuple[str, object]:
    """Key and value of an assignment of the command line, which may not undo what the variants differ in."""
    key, equals, value = (part.strip() for part in text.partition("="))
    where = f"--set {text}"
    if not equals or not key:
        remedy = "write it as section.name=value, for example --set rounds=2"
        raise SettingsError("is not of the form a.b=value", where=where, remedy=remedy)
    for varied in sorted({key for variant in plan.named_variants().values() for key in variant.assignments}):
        if f"{varied}.".startswith(f"{key}.") or key.startswith(f"{varied}."):  # the same, or a section of the other
            remedy = "change it in a plan of your own: save what --show prints, edit it and give the file's path"
            raise SettingsError(f"the variants set {varied} themselves", where=where, remedy=remedy)
    return key, parse_yaml(value, where)[0]


def _settings(plan: Plan, name: str, variant: Variant, seed: int, experiment: str) -> RunSettings:
    recorded = {"tracking.experiment": experiment, "tracking.name": cell_name(name, seed)}
    values: Assignments = {**recorded, **plan.common, **variant.assignments, "seed": seed}
    texts = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    try:
        return with_absolute_paths(load_settings(plan.preset, None, texts))
    except SettingsError as error:
        message = error.message.replace("--set ", "")
        where = ", ".join(filter(None, [f"variant '{name}'", error.where.replace("--set ", "").replace("--", "")]))
        raise SettingsError(message, where=where, remedy=error.remedy) from error


def check_fairness(plan: Plan, cells: Sequence[Cell]) -> None:
    """Refuse a comparison whose variants differ in more than they may, or do not measure what is to be drawn.
    Raises SettingsError: names the variant, what differs from the first one, and both values.

    Cells of one seed suffice: every variant on the same model, prompts and evaluation, with as many images.
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
    reward = cell.settings.reward
    terms = [term_name(term) for term in (*(reward.terms if len(reward.terms) > 1 else ()), *reward.watched)]
    known = ["strict", "soft", *terms]  # a single term is under strict or soft
    if metric not in known:
        message = f"variant '{cell.variant}' does not measure '{metric}'"
        remedy = f"{suggest(metric, known, what='its metrics')}; or add the reward to reward.others"
        raise SettingsError(message, where="pareto", remedy=remedy)
