"""The cells of a comparison: a run for each variant and seed, all checked before any of them starts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from advantageflow.configure import load_settings
from advantageflow.errors import SettingsError
from advantageflow.settings import RunSettings
from advantageflow.suggestions import suggest
from advantageflow.yaml_text import parse_yaml
from advantageflow_experiments.compare.plan import Assignments, Plan, Variant
from advantageflow_experiments.compare.plan_files import make_plan
from advantageflow_pipelines.configuration.named_files import with_absolute_paths


@dataclass(frozen=True)
class Cell:
    """One run of a comparison.

    Attributes:
        variant: name of the variant that it runs.
        settings: all its settings, the seed among them.
    """

    variant: str
    settings: RunSettings

    @property
    def seed(self) -> int:
        """The seed it runs with."""
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

    Args:
        plan: the plan.
        experiment: MLflow experiment that all cells are recorded in.

    Raises:
        SettingsError: a setting is unknown or out of range, or two variants are the same; names the variant.
    """
    variants = plan.named_variants()
    cells = [
        Cell(name, _settings(plan, name, variant, seed, experiment))
        for seed in plan.seeds
        for name, variant in variants.items()
    ]
    seen: dict[str, str] = {}
    for cell in cells:
        twin = seen.setdefault(cell.settings.model_dump_json(), cell.variant)
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

    Args:
        plan: as its file says.
        assignments: texts 'a.b=value', for all variants.
        seeds: instead of the plan's; None leaves them.
        variants: names of those that run, the one that the others are compared with first; None takes all.

    Raises:
        SettingsError: a text is not an assignment, or changes what the variants differ in; a variant is unknown.
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
    values: Assignments = {"tracking.experiment": experiment, **plan.common, **variant.assignments, "seed": seed}
    texts = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    try:
        return with_absolute_paths(load_settings(plan.preset, None, texts))
    except SettingsError as error:
        message = error.message.replace("--set ", "")
        where = ", ".join(filter(None, [f"variant '{name}'", error.where.replace("--set ", "").replace("--", "")]))
        raise SettingsError(message, where=where, remedy=error.remedy) from error
