"""The cells of a plan: settings of every run, and what is refused before any of them starts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from advantageflow.configure import load_settings
from advantageflow.errors import SettingsError
from advantageflow_experiments.compare.cells import Cell, check_fairness, make_cells, with_choices
from advantageflow_experiments.compare.plan import Plan, load_plan

Check = Callable[[str], list[Cell]]


@pytest.fixture
def checked(parse: Callable[[str], Plan]) -> Check:
    """The cells of these variants of preset tiny, of one seed, found to be fair."""

    def check(variants: str) -> list[Cell]:
        plan = parse(f"title: x\npreset: tiny\nseeds: [0]\nvariants: {variants}")
        cells = make_cells(plan, "x")
        check_fairness(plan, cells)
        return cells

    return check


def test_every_variant_runs_with_every_seed_and_all_variants_before_the_next_seed(cells: list[Cell]) -> None:
    assert [cell.name for cell in cells] == [f"{variant}-seed{seed}" for seed in (0, 1, 2) for variant in
                                             ("slow", "fast")]  # fmt: skip
    assert [cell.settings.training.objective.lam for cell in cells] == [2, 1] * 3


def test_a_cell_has_the_settings_that_run_would_choose(cells: list[Cell]) -> None:
    tracking = ["tracking.experiment=two-ways", "tracking.name=slow-seed1"]
    alone = load_settings("tiny", None, ["rounds=2", "training.objective.lam=2", "seed=1", *tracking])
    assert cells[2].settings == alone


def test_what_the_command_line_sets_wins_over_the_plan_and_is_in_every_variant(plan: Plan) -> None:
    chosen = with_choices(plan, ["rounds=5", "rollout.steps=3"], [7])
    settings = [cell.settings for cell in make_cells(chosen, "x")]
    assert [(one.rounds, one.rollout.steps, one.seed) for one in settings] == [(5, 3, 7)] * 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("training.objective.lam=1", "the variants set training.objective.lam themselves"),
        ("training={}", "the variants set training.objective.lam themselves"),
        ("training.objective.lam.x=1", "the variants set training.objective.lam themselves"),
        ("rounds", "not of the form a.b=value"),
    ],
)
def test_the_command_line_cannot_undo_what_the_variants_differ_in(plan: Plan, text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        with_choices(plan, [text])


def test_seeds_of_the_command_line_are_checked(plan: Plan) -> None:
    with pytest.raises(SettingsError, match=r"--seeds.*different whole numbers"):
        with_choices(plan, seeds=[3, 3])


@pytest.mark.parametrize("names", [["fast"], ["fast", "slow"]])
def test_only_some_of_the_variants_may_be_run_in_the_order_given(plan: Plan, names: list[str]) -> None:
    assert [*with_choices(plan, variants=names).named_variants()] == names


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["slow", "c"], r"--variants slow,c: the plan has no variant 'c'\s.*plan's variants: fast, slow"),
        (["slo"], "did you mean 'slow'"),
    ],
)
def test_variants_of_the_command_line_are_checked(plan: Plan, names: list[str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        with_choices(plan, variants=names)


def test_a_grid_is_run_as_a_whole() -> None:
    with pytest.raises(SettingsError, match="--variants a: this plan is a grid"):
        with_choices(load_plan("lam")[1], variants=["a"])


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("training.objective.lamm: 1", r"variant 'b', .*training.objective.lamm=1.*\s.*did you mean 'lam'"),
        ("training.objective.lam: 1.1", "'a' and 'b' have the same settings"),
        ("rounds: 3", r"variant 'b': differs in images generated \(rounds x .*\) from variant 'a': 72 against 48"),
        ("rollout.group_size: 8", "96 against 48"),
        ("evaluation.images: 6", "differs in evaluation from variant 'a': images 6 against 12"),
        ("prompts.eval_prompts: 12", "differs in prompts .* eval_prompts 12 against 6"),
        ("model.max_sequence_length: 9", "differs in model"),
        ("init_policy: /somewhere", "differs in init_policy"),
        ("reward: {name: jpeg, column: compressibility}", "differs in what judges held-out images"),
    ],
)
def test_a_wrong_or_unfair_variant_is_refused_with_its_name_and_numbers(
    checked: Check, setting: str, words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        checked(f"{{a: {{}}, b: {{assignments: {{{setting}}}}}}}")


def test_variants_may_train_on_another_column_of_the_same_judge(checked: Check) -> None:
    assert len(checked("{a: {}, b: {assignments: {reward.column: strict}}}")) == 2


def test_a_metric_that_is_not_measured_is_refused_before_anything_runs(checked: Check) -> None:
    more = "\npareto: {x: jpeg.compressibility, y: strict}"
    both = "{a: {assignments: {reward.others: [{name: jpeg, column: compressibility}]}}, b: {}}"
    with pytest.raises(SettingsError, match=r"variant 'b' does not measure 'jpeg\.compressibility'"):
        checked(both + more)
