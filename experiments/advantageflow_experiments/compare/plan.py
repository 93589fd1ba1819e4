"""The plan of a comparison: which variants of which run, over which seeds, and what is to be drawn of them."""

from __future__ import annotations

import itertools
import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from advantageflow.settings import Settings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

Assignments = dict[str, Any]
"""Values by dotted key, such as {'training.objective.lam': 0.5}: what `--set` changes."""


class Variant(Settings):
    """One of the things compared: what it changes, and what the pictures call it."""

    label: str | None = Field(None, description="its name in tables and pictures; the variant's own name if not given")
    assignments: Assignments = Field(default_factory=dict, description="settings by dotted key")


class Axis(Settings):
    """One side of a grid: a setting and its values, or named options that each change several settings."""

    key: str | None = Field(None, min_length=1, description="dotted key of a setting, such as training.objective.lam")
    values: tuple[Any, ...] = Field((), strict=False, description="its values, in the order of the picture")
    options: dict[str, Assignments] = Field(default_factory=dict, description="instead of key and values: by name")
    label: str | None = Field(None, description="what the picture calls it; the key if not given")

    @model_validator(mode="after")
    def _values_or_options(self) -> Axis:
        if (self.key is None) != (not self.values) or bool(self.values) == bool(self.options):
            raise ValueError("give either a key and its values, or options")
        return self

    def choices(self) -> dict[str, Assignments]:
        """What each place on the axis changes, by the name that the picture gives it."""
        if self.key is None:
            return self.options
        return {str(value): {self.key: value} for value in self.values}

    def label_of(self, choice: str) -> str:
        """What a variant is called that has this choice, such as 'lam 0.5'; an option is called by its name."""
        return choice if self.key is None else f"{self.key.rpartition('.')[2]} {choice}"


class Grid(Settings):
    """Two axes varied together: every choice of the one with every choice of the other."""

    columns: Axis
    rows: Axis

    @model_validator(mode="after")
    def _choices_differ(self) -> Grid:
        keys = [{key for choice in axis.choices().values() for key in choice} for axis in (self.columns, self.rows)]
        if both := sorted(keys[0] & keys[1]):
            raise ValueError(f"columns and rows both set {both[0]}")
        pairs = list(itertools.product(self.columns.choices(), self.rows.choices()))
        if len({grid_name(self, column, row) for column, row in pairs}) < len(pairs):
            raise ValueError("two choices of an axis have the same name, up to letters, digits and _.-")
        return self


class Pareto(Settings):
    """Two metrics that pull against each other."""

    x: str = Field(description="strict, soft, or a reward term such as jpeg.compressibility")
    y: str = Field(description="as x")
    x_label: str | None = None
    y_label: str | None = None


class Plan(Settings):
    """A comparison, as its YAML file says it."""

    title: str = Field(min_length=1, description="one line, above tables and pictures")
    preset: str | None = Field(None, description="settings that every variant starts from, by name")
    settings: dict[str, Any] = Field(default_factory=dict, description="the same by section, as in a preset file")
    common: Assignments = Field(default_factory=dict, description="changes for all variants")
    variants: dict[str, Variant] = Field(default_factory=dict, description="what is compared with the first")
    grid: Grid | None = Field(None, description="instead of variants: two settings varied together")
    seeds: tuple[int, ...] = Field((0, 1, 2), strict=False, min_length=1, description="every variant runs with each")
    view: Literal["lines", "heatmap", "pareto"] = Field("lines", description="how the outcome is drawn")
    pareto: Pareto | None = Field(None, description="the two metrics of view pareto")
    target: float | None = Field(None, description="accuracy for which the table says how many images it took")
    unequal_images: bool = Field(False, description="let variants generate different numbers of images")

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
    def _parts_belong_together(self) -> Plan:
        if bool(self.variants) == bool(self.grid):
            raise ValueError("give either variants or a grid")
        if (self.grid is not None) != (self.view == "heatmap"):
            raise ValueError("a grid is drawn by view heatmap, and only a grid is")
        if (self.pareto is not None) != (self.view == "pareto"):
            raise ValueError("view pareto needs the two metrics under 'pareto', and no other view has them")
        if self.preset is not None and self.settings:
            raise ValueError("give either a preset or settings")
        return self

    def named_variants(self) -> dict[str, Variant]:
        """All variants by name; those of a grid row by row, named after their values."""
        if self.grid is None:
            return self.variants
        columns, rows = self.grid.columns, self.grid.rows
        return {
            grid_name(self.grid, column, row): Variant(
                label=f"{columns.label_of(column)}, {rows.label_of(row)}", assignments={**across, **down}
            )
            for (row, down), (column, across) in itertools.product(rows.choices().items(), columns.choices().items())
        }

    def references(self) -> dict[str, str | None]:
        """What each variant is compared with: the first, in a grid the first of its row; None for those themselves."""
        names = list(self.named_variants())
        in_row = len(self.grid.columns.choices()) if self.grid else len(names)
        firsts = [names[place - place % in_row] for place in range(len(names))]
        return {name: None if name == first else first for name, first in zip(names, firsts, strict=True)}


def grid_name(grid: Grid, column: str, row: str) -> str:
    """Name of a grid's variant, such as 'lam-0.5_gradient_steps-16'."""
    name = f"{grid.columns.label_of(column)}_{grid.rows.label_of(row)}"
    return re.sub(r"[^A-Za-z0-9_.-]", "", name.replace(" ", "-"))
