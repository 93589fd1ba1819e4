"""Numbers are called by the column behind them."""

from __future__ import annotations

from typing import Any

from advantageflow.evaluation.labels import further_terms, headline, is_accuracy, result_table, soft_label, strict_label

USUAL: dict[str, Any] = {"strict": 0.25, "soft": 0.5, "strict_column": "strict", "soft_column": "soft"}


def term(mean: float, reward: str, column: str) -> dict[str, Any]:
    return {"mean": mean, "reward": reward, "column": column}


def test_the_usual_columns_have_their_usual_names_also_where_none_are_given() -> None:
    for metrics in (USUAL, {"strict": 0.25, "soft": 0.5}):
        assert (strict_label(metrics), soft_label(metrics)) == ("strict accuracy", "soft reward")
        assert headline(metrics) == "strict accuracy 0.250, soft reward 0.500"


def test_a_column_that_stands_in_for_strict_is_named_and_not_said_twice() -> None:
    metrics = {"strict": -1.5, "soft": -1.5, "strict_column": "compressibility", "soft_column": "compressibility"}
    assert strict_label(metrics) == "compressibility"
    assert soft_label(metrics) is None
    assert headline(metrics) == "compressibility -1.500"


def test_a_column_that_stands_in_for_soft_alone_is_named_beside_strict() -> None:
    metrics = {**USUAL, "soft_column": "likeness"}
    assert headline(metrics) == "strict accuracy 0.250, likeness 0.500"


def test_genevals_headline_is_an_accuracy_by_its_own_name() -> None:
    metrics = {**USUAL, "strict_column": "correct"}
    assert headline(metrics) == "accuracy 0.250, soft reward 0.500"
    assert is_accuracy(metrics)
    assert is_accuracy(USUAL)
    assert not is_accuracy({**USUAL, "strict_column": "compressibility"})


def test_the_table_of_a_run_that_goes_on_from_a_policy_has_the_base_too_and_the_change_from_the_start() -> None:
    base, start, last = (
        {"round": number, "policy_sha256": sha256, "strict": strict, "tasks": {"a|b": strict, "new": strict},
         "images": 8, "strict_ci95": [0.5, 0.75]}
        for number, sha256, strict in ((0, None, 0.25), (0, "1", 0.5), (3, "2", 0.625))
    )  # fmt: skip
    del start["tasks"]["new"]
    lines = result_table(base, start, last).splitlines()
    assert lines[2] == "| task | base | start | round 3 | change |"
    assert lines[5:7] == ["| new | 0.250 |  | 0.625 |  |", "| **mean of tasks** | 0.250 | 0.500 | 0.625 | +0.125 |"]
    assert result_table(base).splitlines()[2] == "| task | base |"


def test_further_terms_are_those_that_are_not_shown_already() -> None:
    terms = {
        "shapes.soft": term(0.5, "shapes", "soft"),
        "other.soft": term(0.75, "other", "soft"),
        "jpeg.compressibility": term(-1.5, "jpeg", "compressibility"),
    }
    metrics = {**USUAL, "terms": terms}
    assert list(further_terms(metrics)) == ["other.soft", "jpeg.compressibility"]
    assert headline(metrics).endswith("soft reward 0.500, other.soft 0.750, jpeg.compressibility -1.500")
