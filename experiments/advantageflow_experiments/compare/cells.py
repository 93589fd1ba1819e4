"""The cells of a comparison: a run for each variant and seed, all checked before any of them starts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from advantageflow.configure import load_settings
from advantageflow.errors import SettingsError
from advantageflow.settings import RunSettings
from advantageflow.suggestions import suggest
from advantageflow.yaml_text import parse_yaml
from advantageflow_experiments.compare.plan import Assignments, Plan, Variant
from advantageflow_experiments.compare.plan_files import validated
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
    _refuse_twins(cells[: len(variants)])
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
        SettingsError: a text is no assignment, or changes what the variants differ in; a variant is unknown.
    """
    if variants is not None:
        plan = plan.model_copy(update={"variants": _only(plan, variants)})
    varied = sorted({key for variant in plan.named_variants().values() for key in variant.assignments})
    changes: Assignments = {}
    for text in assignments:
        key, equals, value = (part.strip() for part in text.partition("="))
        where = f"--set {text}"
        if not equals or not key:
            remedy = "write it as section.name=value, for example --set rounds=2"
            raise SettingsError("is not of the form a.b=value", where=where, remedy=remedy)
        clash = next((one for one in varied if _overlap(one, key)), None)
        if clash is not None:
            remedy = "change it in a plan of your own: save what --show prints, edit it and give the file's path"
            raise SettingsError(f"the variants set {clash} themselves", where=where, remedy=remedy)
        changes[key] = parse_yaml(value, where)[0]
    kept = {key: value for key, value in plan.common.items() if not any(_overlap(key, one) for one in changes)}
    chosen = plan.seeds if seeds is None else tuple(seeds)
    return validated(Plan, {**dict(plan), "common": {**kept, **changes}, "seeds": chosen}, {"seeds": "--seeds"})


def _only(plan: Plan, names: Sequence[str]) -> dict[str, Variant]:
    where = f"--variants {','.join(names)}"
    if plan.grid is not None:
        remedy = "save what --show prints, change its rows or columns, and give the file's path"
        raise SettingsError("this plan is a grid, which is drawn as a whole", where=where, remedy=remedy)
    for name in names:
        if name not in plan.variants:
            remedy = suggest(name, plan.variants, what="plan's variants")
            raise SettingsError(f"the plan has no variant '{name}'", where=where, remedy=remedy)
        if names.count(name) > 1:
            raise SettingsError(f"variant '{name}' is named twice", where=where, remedy="name it once")
    return {name: plan.variants[name] for name in names}


def _settings(plan: Plan, name: str, variant: Variant, seed: int, experiment: str) -> RunSettings:
    assignments = {
        "tracking.experiment": experiment,
        **dict(_flatten(plan.settings)),
        **plan.common,
        **variant.assignments,
        "seed": seed,
    }
    texts = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in assignments.items()]
    try:
        return with_absolute_paths(load_settings(plan.preset, None, texts))
    except SettingsError as error:
        message = error.message.replace("--set ", "")
        where = ", ".join(filter(None, [f"variant '{name}'", error.where.replace("--set ", "").replace("--", "")]))
        raise SettingsError(message, where=where, remedy=error.remedy) from error


def _flatten(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A preset's sections as assignments by dotted key."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _overlap(one: str, other: str) -> bool:
    """Whether two keys are the same setting, or one is the other's section."""
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def _refuse_twins(cells: Sequence[Cell]) -> None:
    seen: dict[str, str] = {}
    for cell in cells:
        text = cell.settings.model_dump_json()
        if text in seen:
            message = f"variants '{seen[text]}' and '{cell.variant}' have the same settings"
            raise SettingsError(message, where="variants", remedy="remove one, or change what it assigns")
        seen[text] = cell.variant
