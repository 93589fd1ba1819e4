"""Results of comparisons as runs would have left them, made up so that their figures are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from advantageflow.tracking.provenance import provenance
from advantageflow_experiments.compare.cells import Cell, make_cells
from advantageflow_experiments.compare.comparison import CellResult, Comparison, Measured, Point
from advantageflow_experiments.compare.plan import Plan, read_plan
from advantageflow_pipelines.pipelines.definition import images_of_a_run

PLAN = """
title: Two ways
preset: tiny
seeds: [0, 1, 2]
common: {rounds: 2}
variants:
  slow: {label: the slow way, assignments: {training.objective.lam: 2}}
  fast: {label: the fast way, assignments: {training.objective.lam: 1}}
"""
GRID = """
title: A grid
preset: tiny
seeds: [0]
grid:
  columns: {key: training.objective.lam, values: [0.5, 1]}
  rows: {label: inner epochs, options: {one: {training.inner_epochs: 1}, two: {training.inner_epochs: 2}}}
"""
PARETO = """
title: A trade
preset: tiny
seeds: [0]
pareto: {x: jpeg.compressibility, y: shapes.soft}
common: {reward.others: [{name: jpeg, column: compressibility}]}
variants:
  first: {assignments: {reward.weight: 1.0}}
  second: {assignments: {reward.weight: 2.0}}
"""


def point(number: int, strict: float, *, seconds: float = 10.0, **changes: Any) -> Point:
    """The evaluation after a round of 24 images that took `seconds`."""
    values: dict[str, Any] = {
        "round": number,
        "generated": 24 * number,
        "training_seconds": seconds * number,
        "strict": strict,
        "strict_ci95": (strict - 0.1, strict + 0.1),
        "soft": strict + 0.1,
        "tasks": {"colors": strict, "two_object": strict / 2},
    }
    return Point(**(values | changes))


def result(cell: Cell, accuracies: Sequence[float], *, diverged: int | None = None, **changes: Any) -> CellResult:
    """A run with these accuracies, the base model's first; complete, or diverged in a round after them."""
    points = tuple(point(number, strict, **changes) for number, strict in enumerate(accuracies))
    return CellResult(
        variant=cell.variant, seed=cell.seed, diverged_round=diverged, points=points, seconds=99.0,
        strict_label="strict accuracy", soft_label="soft reward",
    )  # fmt: skip


def terms(soft: float, size: float) -> dict[str, Measured]:
    """The two terms of PARETO."""
    return {
        "shapes.soft": Measured(mean=soft, ci95=(soft - 0.1, soft + 0.1)),
        "jpeg.compressibility": Measured(mean=size, ci95=(size - 0.2, size + 0.2)),
    }


@pytest.fixture
def parse(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Plan]:
    """The plan that a text says, as from a file p.yaml."""
    path = tmp_path_factory.mktemp("plan") / "p.yaml"

    def read(text: str) -> Plan:
        path.write_text(text)
        return read_plan(path, "p.yaml")

    return read


@pytest.fixture
def plan(parse: Callable[[str], Plan]) -> Plan:
    return parse(PLAN)


@pytest.fixture
def cells(plan: Plan) -> list[Cell]:
    return make_cells(plan, "two-ways")


@pytest.fixture
def make(parse: Callable[[str], Plan]) -> Callable[..., Comparison]:
    """Sums up made-up results of a plan: `make(text, run)` with `run(cell)` the result of a cell."""

    def build(text: str, run: Callable[[Cell], CellResult]) -> Comparison:
        chosen = parse(text)
        its_cells = make_cells(chosen, "made-up")
        results = tuple(run(cell) for cell in its_cells)
        images = images_of_a_run(its_cells[0].settings)
        return Comparison(name="made-up", plan=chosen, images=images, versions=provenance(), cells=results)

    return build


@pytest.fixture
def lines(make: Callable[..., Comparison]) -> Comparison:
    """Three seeds of two variants; 'fast' is .2 better at the end, but diverged with seed 1 in round 2."""

    def run(cell: Cell) -> CellResult:
        base = 0.3 + 0.02 * cell.seed
        if cell.variant == "fast":
            end = [] if cell.seed == 1 else [base + 0.4]
            return result(cell, [base, base + 0.3, *end], diverged=2 if cell.seed == 1 else None, seconds=5.0)
        return result(cell, [base, base + 0.1, base + 0.2])

    return make(PLAN, run)


@pytest.fixture
def untrained(make: Callable[..., Comparison]) -> Comparison:
    """Two variants that end at another reward: 'fast' loses .3 of diversity on the way to .8, 'slow' .1 to .6."""
    courses = {"fast": ((0.3, 0.9), (0.7, 0.6)), "slow": ((0.3, 0.9), (0.5, 0.8))}

    def run(cell: Cell) -> CellResult:
        made = result(cell, [strict for strict, _ in courses[cell.variant]])
        points = tuple(
            one.model_copy(update={
                "watched": {"layout.beauty": Measured(mean=0.4 + 0.01 * cell.seed, ci95=(0.3, 0.5))},
                "statistics": {"diversity": diversity},
            })
            for one, (_, diversity) in zip(made.points, courses[cell.variant], strict=True)
        )  # fmt: skip
        return made.model_copy(update={"points": points})

    return make(PLAN, run)


@pytest.fixture
def grid(make: Callable[..., Comparison]) -> Comparison:
    """Four runs; the one with lam .5 and two inner epochs diverged, the one with lam 1 and two fell by .1."""

    def run(cell: Cell) -> CellResult:
        lam, inner_epochs = cell.settings.training.objective.lam, cell.settings.training.inner_epochs
        if inner_epochs == 1:
            return result(cell, [0.3, 0.4, 0.5])
        return result(cell, [0.3, 0.4], diverged=2) if lam == 0.5 else result(cell, [0.3, 0.6, 0.5])

    return make(GRID, run)


@pytest.fixture
def pareto(make: Callable[..., Comparison]) -> Comparison:
    """'first' is better at both terms than 'second'."""
    places = {"first": (0.8, -1.0), "second": (0.7, -1.5)}
    return make(PARETO, lambda cell: result(cell, [0.3, 0.5], terms=terms(*places[cell.variant])))
