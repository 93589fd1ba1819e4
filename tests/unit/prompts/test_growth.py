"""Sources that grow: folders of files, what is new in them, and the share of old prompts mixed in."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advantageflow.errors import DataError
from advantageflow.prompts.sources import load_prompts, with_replay
from advantageflow.records import Prompt
from advantageflow.store.prompts import source_sha256

HELD_OUT = [Prompt(f"held out {number}", "eval", "all") for number in range(3)]


def prompts(count: int) -> list[Prompt]:
    return [*HELD_OUT, *(Prompt(f"train {number}", "train", "all") for number in range(count))]


@given(st.integers(1, 30), st.integers(1, 30), st.floats(0, 0.9), st.integers(0, 5))
def test_all_that_is_new_stays_and_of_the_old_the_share_asked_for(new: int, old: int, share: float, seed: int) -> None:
    source = prompts(new + old)
    known = {prompt.prompt_id for prompt in source[len(HELD_OUT) + new :]}
    chosen = with_replay(source, known, share, seed)
    assert chosen == [prompt for prompt in source if prompt in chosen], "in the order of the source"
    assert [prompt for prompt in chosen if prompt.prompt_id not in known] == source[: len(HELD_OUT) + new]
    replayed = len(chosen) - len(HELD_OUT) - new
    assert replayed == min(old, round(new * share / (1 - share)))


def test_without_news_or_without_a_share_all_are_taken_and_others_are_drawn_as_the_source_grows() -> None:
    source = prompts(20)
    known = {prompt.prompt_id for prompt in source}
    assert with_replay(source, known, 0.5, 0) == source
    assert with_replay(source, set(), 0.5, 0) == source
    assert with_replay(source, {source[-1].prompt_id}, None, 0) == source
    drawn = [
        {p.text for p in with_replay(prompts(20 + more), known, 0.5, 0) if p.prompt_id in known} for more in (2, 3)
    ]
    assert drawn[0] - drawn[1], "not the same ones for ever"


def test_a_folder_is_the_prompts_of_its_files_each_once(tmp_path: Path) -> None:
    (tmp_path / "week-02.txt").write_text("a blue star\na red circle\n")
    (tmp_path / "week-01.jsonl").write_text('{"text": "held out", "split": "eval"}\n{"text": "a red circle"}\n')
    (tmp_path / "notes.md").write_text("no prompts")
    told: list[str] = []
    found = load_prompts(str(tmp_path), warn=told.append)
    assert "week-02.txt: 1 of 2 prompts repeat an earlier one and were dropped" in told[0]
    assert [prompt.text for prompt in found] == ["held out", "a red circle", "a blue star"]
    moved = tmp_path / "moved"
    moved.mkdir()
    (tmp_path / "week-02.txt").rename(moved / "all.txt")
    assert source_sha256(load_prompts(str(tmp_path))) == source_sha256(found), "where they lie makes no difference"
    (tmp_path / "week-03.jsonl").write_text('{"text": "a red circle", "split": "eval"}\n')
    with pytest.raises(DataError, match="has another split than at") as refused:
        load_prompts(str(tmp_path))
    assert "week-03.jsonl:1" in refused.value.where
