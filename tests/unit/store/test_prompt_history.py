"""Prompt outcomes on disk: what is written is read, and what is wrong is named by file and field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advantageflow.errors import DataError, StoreError
from advantageflow.records import HISTORY_FILE
from advantageflow.store.prompt_history import GroupOutcome, PromptHistory, read_history, write_history

numbers = st.floats(-1e6, 1e6)
outcome = st.builds(GroupOutcome, round=st.integers(1, 9), mean=numbers, std=st.floats(0, 1e6), gain=numbers)
histories = st.lists(outcome, max_size=4, unique_by=lambda one: one.round).map(
    lambda past: tuple(sorted(past, key=lambda one: one.round))
)
prompt_ids = st.text("0123456789abcdef", min_size=16, max_size=16)


@settings(deadline=None, max_examples=25)
@given(st.dictionaries(prompt_ids, histories, max_size=4))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, prompts: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("policy")
    outcomes = PromptHistory(rounds=9, prompts=prompts)
    write_history(folder, outcomes)
    assert read_history(folder) == outcomes


def test_the_order_of_prompts_leaves_no_trace(tmp_path: Path) -> None:
    one, two = GroupOutcome(round=1, mean=0.5, std=0.5, gain=0.2), GroupOutcome(round=1, mean=0.0, std=0.0, gain=0.0)
    texts = []
    for prompts in ({"a": (one,), "b": (two,)}, {"b": (two,), "a": (one,)}):
        write_history(tmp_path, PromptHistory(rounds=1, prompts=prompts))
        texts.append((tmp_path / HISTORY_FILE).read_text())
    assert texts[0] == texts[1]


def test_a_policy_without_the_file_has_no_outcomes_yet(tmp_path: Path) -> None:
    assert read_history(tmp_path) == PromptHistory(rounds=0, prompts={})


GOOD = {"round": 1, "mean": 0.5, "std": 0.5, "gain": 0.2}


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"rounds": "2", "prompts": {}}, ": rounds"),
        ({"rounds": 2, "prompts": {}, "extra": 1}, ": extra"),
        ({"rounds": 2, "prompts": {"ab": [GOOD, {**GOOD, "round": 2, "std": -0.1}]}}, ": prompts.ab.1.std"),
        ({"rounds": 2, "prompts": {"ab": [{**GOOD, "gain": "nan"}]}}, ": prompts.ab.0.gain"),
        ({"rounds": 2, "prompts": {"ab": [{k: v for k, v in GOOD.items() if k != "mean"}]}}, ": prompts.ab.0.mean"),
        ({"rounds": 1, "prompts": {"ab": [{**GOOD, "round": 2}]}}, "prompts.ab: rounds [2] do not rise"),
        ({"rounds": 2, "prompts": {"ab": [GOOD, GOOD]}}, "prompts.ab: rounds [1, 1] do not rise"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, value: dict[str, Any], field: str) -> None:
    (tmp_path / HISTORY_FILE).write_text(json.dumps(value))
    with pytest.raises(DataError) as caught:
        read_history(tmp_path)
    assert caught.value.where.startswith(str(tmp_path / HISTORY_FILE))
    assert field in str(caught.value)
    assert caught.value.remedy


def test_a_file_that_was_cut_short_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / HISTORY_FILE).write_text('{"rounds": 1, "prom')
    with pytest.raises(StoreError, match="corrupt") as caught:
        read_history(tmp_path)
    assert HISTORY_FILE in caught.value.where
