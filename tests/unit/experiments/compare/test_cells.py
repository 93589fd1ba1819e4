"""The cells of a plan: settings of every run, and what is refused before any of them starts."""

from __future__ import annotations

import pytest

from advantageflow.configure import load_settings
from advantageflow.errors import SettingsError
from advantageflow_experiments.compare.cells import Cell, make_cells, with_choices
from advantageflow_experiments.compare.fairness import check_fairness, check_metrics
from advantageflow_experiments.compare.plan import Plan
from advantageflow_experiments.compare.plan_files import load_plan, parse_plan


def planned(variants: str, more: str = "preset: tiny") -> Plan:
    return parse_plan(f"title: x\n{more}\nvariants: {variants}", "p.yaml")


def cells_of(variants: str, more: str = "preset: tiny") -> list[Cell]:
    return make_cells(planned(variants, more), "x")


def test_every_variant_runs_with_every_seed_and_all_variants_before_the_next_seed(cells: list[Cell]) -> None:
    assert [cell.name for cell in cells] == [f"{variant}-seed{seed}" for seed in (0, 1, 2) for variant in
                                             ("slow", "fast")]  # fmt: skip
    assert [cell.settings.training.objective.lam for cell in cells] == [2, 1] * 3
    assert {cell.settings.tracking.experiment for cell in cells} == {"two-ways"}


def test_a_cell_has_the_settings_that_run_would_choose(cells: list[Cell]) -> None:
    alone = load_settings(
        "tiny", None, ["rounds=2", "training.objective.lam=2", "seed=1", "tracking.experiment=two-ways"]
    )
    assert cells[2].settings == alone


def test_settings_written_out_are_those_of_a_preset_file() -> None:
    text = "settings: {rounds: 3, rollout: {steps: 2}, reward: {others: [{name: jpeg, column: compressibility}]}}"
    settings = cells_of("{a: {}}", text)[0].settings
    assert (settings.rounds, settings.rollout.steps, settings.preset) == (3, 2, "custom")
    assert [term.name for term in settings.reward.others] == ["jpeg"]


def test_what_the_command_line_sets_wins_over_the_plan_and_is_in_every_variant(plan: Plan) -> None:
    chosen = with_choices(plan, ["rounds=5", "rollout.steps=3"], [7])
    settings = [cell.settings for cell in make_cells(chosen, "x")]
    assert {(one.rounds, one.rollout.steps, one.seed) for one in settings} == {(5, 3, 7)}
    assert len(settings) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("training.objective.lam=1", "the variants set training.objective.lam themselves"),
        ("training={}", "the variants set training.objective.lam themselves"),
        ("rounds", "not of the form a.b=value"),
    ],
)
def test_the_command_line_cannot_undo_what_the_variants_differ_in(plan: Plan, text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        with_choices(plan, [text])


def test_seeds_of_the_command_line_are_checked(plan: Plan) -> None:
    with pytest.raises(SettingsError, match=r"--seeds.*different whole numbers"):
        with_choices(plan, seeds=[3, 3])


def test_only_some_of_the_variants_may_be_run_in_the_order_given(plan: Plan) -> None:
    assert [*with_choices(plan, variants=["fast"]).named_variants()] == ["fast"]
    assert [*with_choices(plan, variants=["fast", "slow"]).named_variants()] == ["fast", "slow"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["slow", "c"], r"--variants slow,c: the plan has no variant 'c'\s.*plan's variants: fast, slow"),
        (["slo"], "did you mean 'slow'"),
        (["slow", "fast", "slow"], "'slow' is named twice"),
    ],
)
def test_variants_of_the_command_line_are_checked(plan: Plan, names: list[str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        with_choices(plan, variants=names)


def test_a_grid_is_run_as_a_whole() -> None:
    with pytest.raises(SettingsError, match="--variants a: this plan is a grid"):
        with_choices(load_plan("lam")[1], variants=["a"])


def test_a_wrong_setting_is_told_with_the_variant_that_has_it() -> None:
    with pytest.raises(SettingsError, match=r"variant 'b', .*training.objective.lamm=1.*\s.*did you mean 'lam'"):
        cells_of("{a: {}, b: {assignments: {training.objective.lamm: 1}}}")


def test_two_variants_with_the_same_settings_are_a_mistake() -> None:
    with pytest.raises(SettingsError, match="'a' and 'b' have the same settings"):
        cells_of("{a: {}, b: {assignments: {training.objective.lam: 1.0}}}")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("rounds: 3", r"variant 'b': generates 72 images \(3 x 6 x 4\), variant 'a' 48 \(2 x 6 x 4\)"),
        ("rollout.group_size: 8", "generates 96 images"),
        ("evaluation.images: 6", "differs in evaluation from variant 'a': images 6 against 12"),
        ("prompts.eval_prompts: 12", "differs in prompts .* eval_prompts 12 against 6"),
        ("model.max_sequence_length: 9", "differs in model"),
        ("init_policy: /somewhere", "differs in init_policy"),
        ("reward: {name: jpeg, column: compressibility}", "differs in what judges held-out images"),
    ],
)
def test_an_unfair_comparison_is_refused_with_variant_and_numbers(setting: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        check_fairness(cells_of(f"{{a: {{}}, b: {{assignments: {{{setting}}}}}}}")[:2])


def test_different_numbers_of_images_may_be_asked_for() -> None:
    variants = "{a: {}, b: {assignments: {rounds: 3}}}"
    check_fairness(cells_of(variants)[:2], unequal_images=True)
    with pytest.raises(SettingsError, match="differs in evaluation"):
        check_fairness(cells_of("{a: {}, b: {assignments: {evaluation.steps: 3}}}")[:2], unequal_images=True)


def test_variants_may_train_on_another_column_of_the_same_judge() -> None:
    check_fairness(cells_of("{a: {}, b: {assignments: {reward.column: strict}}}")[:2])


def test_a_metric_that_is_not_measured_is_refused_before_anything_runs() -> None:
    more = "preset: tiny\nview: pareto\npareto: {x: jpeg.compressibility, y: strict}"
    both = "{a: {assignments: {reward.others: [{name: jpeg, column: compressibility}]}}, b: {}}"
    plan = planned(both, more)
    cells = make_cells(plan, "x")
    check_metrics(plan, cells[:1])
    with pytest.raises(SettingsError, match=r"variant 'b' does not measure 'jpeg\.compressibility'"):
        check_metrics(plan, cells[:2])
