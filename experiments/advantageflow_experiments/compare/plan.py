"""Plans of comparisons, as YAML files: which variants of which run, over which seeds, and what is drawn of them."""

import itertools
import re
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from advantageflow.configure import read_values
from advantageflow.errors import SettingsError
from advantageflow.problems import problems_of, to_error
from advantageflow.settings import Settings
from advantageflow.store.files import writing
from advantageflow.suggestions import suggest

DEFAULT_PLAN = "algorithms"
_PLANS = resources.files("advantageflow_experiments.plans")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

Assignments = dict[str, Any]
"""Values by dotted key, such as {'training.objective.lam': 0.5}: what `--set` changes."""


class Variant(Settings):
    """One of the things compared: what it changes, and what the pictures call it."""

    label: str | None = Field(None, description="its name in tables and pictures; the variant's own name if not given")
    assignments: Assignments = Field(default_factory=dict, description="settings by dotted key")


class Axis(Settings):
    """One side of a grid: choices by name; {key: a.lam, values: [0.5, 1]} stands for 'lam 0.5' and 'lam 1'."""

    options: dict[str, Assignments] = Field(min_length=1, description="by the name that the picture gives it")
    label: str | None = Field(None, description="what the picture calls the axis; nothing if not given")

    @model_validator(mode="before")
    @classmethod
    def _name_the_values(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not {"key", "values"} & data.keys():
            return data
        key, values, rest = data.get("key"), data.get("values"), data.keys() - {"key", "values"}
        if not isinstance(key, str) or not isinstance(values, list) or "options" in rest:
            raise ValueError("give either a key and a list of its values, or options")
        name = key.rpartition(".")[2]
        return {**{one: data[one] for one in rest}, "options": {f"{name} {value}": {key: value} for value in values}}


class Grid(Settings):
    """Two axes varied together: every choice of the one with every choice of the other."""

    columns: Axis
    rows: Axis

    @model_validator(mode="after")
    def _choices_differ(self) -> Self:
        keys = [{key for choice in axis.options.values() for key in choice} for axis in (self.columns, self.rows)]
        if both := sorted(keys[0] & keys[1]):
            raise ValueError(f"columns and rows both set {both[0]}")
        pairs = list(itertools.product(self.columns.options, self.rows.options))
        if len({grid_name(column, row) for column, row in pairs}) < len(pairs):
            raise ValueError("two choices of an axis have the same name, up to letters, digits and _.-")
        return self


class Pareto(Settings):
    """Two metrics that pull against each other."""

    x: str = Field(description="strict, soft, or a reward term such as jpeg.compressibility")
    y: str = Field(description="as x")
    x_label: str | None = None
    y_label: str | None = None


class Plan(Settings):
    """A comparison, as its YAML file says it: a grid is drawn as heat maps, two metrics as a plane, others as lines."""

    title: str = Field(min_length=1, description="one line, above tables and pictures")
    preset: str | None = Field(None, description="settings that every variant starts from, by name")
    common: Assignments = Field(default_factory=dict, description="changes for all variants")
    variants: dict[str, Variant] = Field(default_factory=dict, description="what is compared with the first")
    grid: Grid | None = Field(None, description="instead of variants: two settings varied together")
    seeds: tuple[int, ...] = Field((0, 1, 2), strict=False, min_length=1, description="every variant runs with each")
    pareto: Pareto | None = Field(None, description="two metrics that the variants trade for each other")
    target: float | None = Field(None, description="accuracy to which the table tells images and seconds")

    @field_validator("variants")
    @classmethod
    def _names_are_folders(cls, variants: dict[str, Variant]) -> dict[str, Variant]:
        wrong = [name for name in variants if not _NAME.fullmatch(name)]
        if wrong:
            raise ValueError(f"variant names become folders; '{wrong[0]}' may hold letters, digits and _.- only")
        return variants

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds) or min(seeds) < 0:
            raise ValueError(f"seeds must be different whole numbers of at least 0, not {list(seeds)}")
        return seeds

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if bool(self.variants) == bool(self.grid):
            raise ValueError("give either variants or a grid")
        if self.grid and self.pareto:
            raise ValueError("give either a grid or pareto: each is drawn in its own way")
        return self

    def named_variants(self) -> dict[str, Variant]:
        """All variants by name; those of a grid row by row, named after their choices."""
        if self.grid is None:
            return self.variants
        columns, rows = self.grid.columns.options, self.grid.rows.options
        return {
            grid_name(column, row): Variant(label=f"{column}, {row}", assignments={**across, **down})
            for (row, down), (column, across) in itertools.product(rows.items(), columns.items())
        }

    def references(self) -> dict[str, str | None]:
        """What each variant is compared with: the first, in a grid the first of its row; None for those themselves."""
        names = list(self.named_variants())
        in_row = len(self.grid.columns.options) if self.grid else len(names)
        firsts = [names[place - place % in_row] for place in range(len(names))]
        return {name: None if name == first else first for name, first in zip(names, firsts, strict=True)}


def grid_name(column: str, row: str) -> str:
    """Name of a grid's variant, such as 'lam-0.5_gradient_steps-16'."""
    return re.sub(r"[^A-Za-z0-9_.-]", "", f"{column}_{row}".replace(" ", "-"))


def load_plan(name: str) -> tuple[str, Plan]:
    """Short name and plan of one that comes with the package, by its name, or of a YAML file, by its path.
    Raises SettingsError: no such plan (says which name is nearest) or file, bad YAML, an unknown key, a wrong value.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return Path(name).stem, read_plan(Path(name), name)
    return name, read_plan(_plan_file(name), f"plan {name}.yaml")


def read_plan(file: Traversable, name: str) -> Plan:
    """The plan in a file; `name` is what to call it in an error.
    Raises SettingsError: names every mistake and its line.
    """
    values, places = read_values(file, name, example="title: My question")
    return make_plan(values, places, name)


def make_plan(values: Mapping[str, Any], places: Mapping[str, str], name: str = "") -> Plan:
    """The plan that these values say.
    Raises SettingsError: names every mistake and its place.

    Args:
        values: as read from YAML.
        places: by dotted path, the line or option that it came from.
        name: what to call in an error what stands in no single place.
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
    """The YAML of a named plan, whose first line says what it asks.
    Raises SettingsError: there is none of this name; says which is nearest.
    """
    return _plan_file(name).read_text("utf-8")


def _plan_file(name: str) -> Traversable:
    names = plan_names()
    if name not in names:
        remedy = f"{suggest(name, names, what='plans')}; or give the path of a .yaml file"
        raise SettingsError(f"unknown plan '{name}'", where="PLAN", remedy=remedy)
    return _PLANS / f"{name}.yaml"
