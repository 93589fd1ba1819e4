"""Plans as YAML: those that come with the package, a person's own, and the one that a comparison keeps."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from advantageflow.errors import SettingsError
from advantageflow.problems import problems_of, to_error
from advantageflow.store.files import reading, writing
from advantageflow.suggestions import suggest
from advantageflow.yaml_text import parse_yaml
from advantageflow_experiments.compare.plan import Plan, Variant

DEFAULT_PLAN = "algorithms"
PLANS_PACKAGE = "advantageflow_experiments.plans"
Model = TypeVar("Model", bound=BaseModel)


def load_plan(name: str, plans: Traversable | None = None) -> tuple[str, Plan]:
    """A plan by its name, or from a YAML file.

    Args:
        name: of a plan that comes with the package, or the path of a file.
        plans: folder of the named plans; the package's when None.

    Returns:
        Its short name, and the plan.

    Raises:
        SettingsError: no such plan (says which name is nearest) or file, bad YAML, an unknown key, a wrong value.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return Path(name).stem, read_plan(Path(name))
    return name, parse_plan(plan_text(name, plans), f"plan {name}.yaml")


def read_plan(path: Path) -> Plan:
    """The plan in a file.

    Raises:
        StoreError: it cannot be read.
        SettingsError: it is no valid plan.
    """
    with reading(path):
        text = path.read_text(encoding="utf-8")
    return parse_plan(text, str(path))


def parse_plan(text: str, name: str) -> Plan:
    """The plan that a YAML text says; `name` is what to call it in an error.

    Raises:
        SettingsError: names every mistake and its line.
    """
    values, lines = parse_yaml(text, name)
    if not isinstance(values, dict):
        remedy = f"write a title, a preset and variants; for an example: advantageflow compare {DEFAULT_PLAN} --show"
        raise SettingsError("holds no plan", where=name, remedy=remedy)
    places = {path: f"{name}:{line}" for path, line in lines.items()}
    if isinstance(values.get("variants"), dict):
        values = {**values, "variants": {key: _variant(key, v, places) for key, v in values["variants"].items()}}
    try:
        return validated(Plan, values, places)
    except SettingsError as error:  # of what concerns no single line
        raise SettingsError(error.message, where=error.where or name, remedy=error.remedy) from error


def write_plan(path: Path, plan: Plan) -> None:
    """Write a plan as YAML that read_plan reads."""
    values = plan.model_dump(mode="json", exclude_defaults=True)
    with writing(path):
        path.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")


def plan_names(plans: Traversable | None = None) -> list[str]:
    """Names of the plans in a folder (the package's when None), sorted."""
    folder = plans or resources.files(PLANS_PACKAGE)
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def plan_text(name: str, plans: Traversable | None = None) -> str:
    """The YAML of a named plan.

    Raises:
        SettingsError: there is none of this name; says which is nearest.
    """
    names = plan_names(plans)
    if name not in names:
        remedy = f"{suggest(name, names, what='plans')}; or give the path of a .yaml file"
        raise SettingsError(f"unknown plan '{name}'", where="PLAN", remedy=remedy)
    return ((plans or resources.files(PLANS_PACKAGE)) / f"{name}.yaml").read_text("utf-8")


def list_plans() -> dict[str, str]:
    """What each plan that comes with the package asks, by name: the first line of its file."""
    return {name: plan_text(name).partition("\n")[0].lstrip("# ") for name in plan_names()}


def validated(model: type[Model], values: Any, places: Mapping[str, str]) -> Model:
    """A model of these values.

    Args:
        model: Plan, or a part of it.
        values: as read from YAML.
        places: by dotted path, the line or option that it came from.

    Raises:
        SettingsError: names every mistake and its place.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise to_error(problems_of(error, model, places)) from error


def _variant(name: str, values: Any, places: dict[str, str]) -> Variant:
    prefix = f"variants.{name}"
    inner = {path.removeprefix(f"{prefix}."): place for path, place in places.items() if path.startswith(f"{prefix}.")}
    return validated(Variant, {} if values is None else values, inner)
