"""Plans: what a YAML file may say, what it is told when it is wrong, and the plans that come with the package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from advantageflow.errors import SettingsError
from advantageflow_experiments.compare.cells import check_fairness, make_cells, with_choices
from advantageflow_experiments.compare.plan import Plan, load_plan, plan_names, plan_text, read_plan, write_plan
from advantageflow_experiments.compare.runner import threads_of
from advantageflow_pipelines.pipelines.definition import images_of_a_run

SEARCHES = [name for name in plan_names() if name.startswith("search-")]


@pytest.mark.parametrize("name", plan_names())
def test_a_plan_of_the_package_can_be_run_and_is_fair(name: str, tmp_path: Path) -> None:
    short, plan = load_plan(name)
    assert short == name
    cells = make_cells(with_choices(plan, seeds=[0]), name)
    check_fairness(plan, cells)
    assert {threads_of(cell.settings) for cell in cells} == {1}, "as many runs at once as there are cores"
    assert len(plan_text(name).splitlines()[0].lstrip("# ")) > 20, "what it asks"
    write_plan(tmp_path / "plan.yaml", plan)
    assert read_plan(tmp_path / "plan.yaml", "it") == plan


def test_the_default_plan_compares_four_algorithms_over_three_seeds_on_equally_many_images() -> None:
    _, plan = load_plan("algorithms")
    cells = make_cells(plan, "algorithms")
    assert len(cells) == 15, "DiffusionNFT has two betas"
    algorithms = {cell.settings.training.objective.name for cell in cells}
    assert algorithms == {"advantage_flow", "diffusion_nft", "awm", "flow_grpo"}
    assert len({images_of_a_run(cell.settings) for cell in cells}) == 1


def test_every_algorithm_of_the_default_plan_is_tuned_with_the_same_budget_on_other_seeds() -> None:
    _, plan = load_plan("algorithms")
    algorithms = {variant.assignments["training.objective"] for variant in plan.variants.values()}
    assert {name.removeprefix("search-") for name in SEARCHES} == algorithms
    searches = [load_plan(name)[1] for name in SEARCHES]
    assert len({(len(search.variants), search.seeds) for search in searches}) == 1
    assert not set(searches[0].seeds) & set(plan.seeds)


def test_a_grid_has_a_variant_for_each_pair_of_choices() -> None:
    variants = load_plan("lam")[1].named_variants()
    assert len(variants) == 28
    assert variants["lam-0.25_gradient_steps-64"].assignments == {
        "training.objective": "advantage_flow", "training.objective.space": "velocity",
        "training.objective.reference_weight": 0, "training.objective.lam": 0.25, "training.gradient_steps": 64,
    }  # fmt: skip
    assert variants["beta-1_gradient_steps-4"].assignments["training.objective"] == "diffusion_nft"
    assert variants["lam-auto_gradient_steps-1"].label == "lam auto, gradient_steps 1"
    variants = load_plan("lam-auto")[1].named_variants()
    assert len(variants) == 25
    assert variants["lam-1_groups-of-24"].assignments == {
        "training.objective.lam": 1, "rollout.group_size": 24, "rollout.prompts_per_round": 8
    }  # fmt: skip


def test_an_unknown_plan_gets_the_nearest_name_and_the_way_to_a_file() -> None:
    with pytest.raises(SettingsError, match=r"did you mean 'algorithms'\?[\s\S]*path of a .yaml file"):
        load_plan("algorithm")


def test_a_plan_is_read_from_a_file_and_named_after_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("title: Mine\nvariants: {one: {}}\n")
    assert load_plan(str(path)) == ("mine", Plan(title="Mine", variants={"one": {}}))  # type: ignore[dict-item]
    with pytest.raises(SettingsError, match=r"none\.yaml: cannot be read"):
        load_plan(str(tmp_path / "none.yaml"))


def _grid(columns: str, rows: str) -> str:
    return f"title: x\ngrid:\n  columns: {columns}\n  rows: {rows}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", "p.yaml: holds list, not settings"),
        ("title: x\npresett: tiny\nvariants: {a: {}}", r"presett \(p.yaml:2\).*\s.*did you mean 'preset'"),
        ("title: x\nvariants:\n  a: {assignmets: {}}", r"assignmets \(p.yaml:3\).*\s.*mean 'variants.a.assignments'"),
        ("title: x", "p.yaml: give either variants or a grid"),
        (_grid("{key: a, values: [1]}", "{key: b, values: [1]}\npareto: {x: a, y: b}"), "either a grid or pareto"),
        (_grid("{key: a}", "{key: b, values: [1]}"), r"grid.columns \(p.yaml:3\): .*a list of its values, or options"),
        (_grid("{values: [1]}", "{key: b, values: [1]}"), "either a key and a list of its values, or options"),
        (_grid("{key: a, values: [1], options: {x: {a: 1}}}", "{key: b, values: [1]}"), "or options"),
        (_grid("{key: a, values: [1]}", "{options: {x: {a: 2}}}"), "columns and rows both set a"),
        (_grid("{options: {x y: {a: 1}, x-y: {a: 2}}}", "{key: b, values: [1]}"), "have the same name"),
        ("title: x\nvariants: {a b: {}}", "'a b' may hold letters, digits"),
        ("title: x\nvariants: {../a: {}}", "'../a' may hold letters, digits"),
        ("title: x\nseeds: [1, 1]\nvariants: {a: {}}", r"seeds \(p.yaml:2\): .*different whole numbers"),
    ],
)
def test_a_mistake_in_a_plan_is_named_with_its_line(parse: Callable[[str], Plan], text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        parse(text)
