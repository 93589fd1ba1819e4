"""Plans as YAML: those that come with the package, a person's own, and the one that a comparison keeps."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from advantageflow.configure import read_values
from advantageflow.errors import SettingsError
from advantageflow.problems import problems_of, to_error
from advantageflow.store.files import writing
from advantageflow.suggestions import suggest
from advantageflow_experiments.compare.plan import Plan

DEFAULT_PLAN = "algorithms"
_PLANS = resources.files("advantageflow_experiments.plans")


def load_plan(name: str) -> tuple[str, Plan]:
    """A plan by its name, or from a YAML file.

    Args:
        name: of a plan that comes with the package, or the path of a file.

    Returns:
        Its short name, and the plan.

    Raises:
        SettingsError: no such plan (says which name is nearest) or file, bad YAML, an unknown key, a wrong value.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return Path(name).stem, read_plan(Path(name), name)
    return name, read_plan(_plan_file(name), f"plan {name}.yaml")


def read_plan(file: Traversable, name: str) -> Plan:
    """The plan in a file; `name` is what to call it in an error.

    Raises:
        SettingsError: names every mistake and its line.
    """
    values, places = read_values(file, name, example="title: My question")
    return make_plan(values, places, name)


def make_plan(values: Mapping[str, Any], places: Mapping[str, str], name: str = "") -> Plan:
    """The plan that these values say.

    Args:
        values: as read from YAML.
        places: by dotted path, the line or option that it came from.
        name: what to call in an error what stands in no single place.

    Raises:
        SettingsError: names every mistake and its place.
    """
    try:
        return Plan.model_validate(values)
    except ValidationError as error:
        told = to_error(problems_of(error, Plan, places))
        raise SettingsError(told.message, where=told.where or name, remedy=told.remedy) from error


def write_plan(path: Path, plan: Plan) -> None:
    """Write a plan as YAML that read_plan reads."""
    values = plan.model_dump(mode="json", exclude_defaults=True)
    with writing(path):
        path.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")


def plan_names() -> list[str]:
    """Names of the plans that come with the package, sorted."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _PLANS.iterdir() if entry.name.endswith(".yaml"))


def plan_text(name: str) -> str:
    """The YAML of a named plan; its first line is a comment that says what the plan asks.

    Raises:
        SettingsError: there is none of this name; says which is nearest.
    """
    return _plan_file(name).read_text("utf-8")


def _plan_file(name: str) -> Traversable:
    names = plan_names()
    if name not in names:
        remedy = f"{suggest(name, names, what='plans')}; or give the path of a .yaml file"
        raise SettingsError(f"unknown plan '{name}'", where="PLAN", remedy=remedy)
    return _PLANS / f"{name}.yaml"
