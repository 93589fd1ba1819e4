"""Prompts are checked against the reward, held-out ones balanced over tasks, and what grows is found to be new."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advantageflow.errors import DataError
from advantageflow.prompts.sources import is_local_file, load_prompts, select_held_out, with_replay
from advantageflow.records import Prompt
from advantageflow.rewards.plumbing.registry import get_reward
from advantageflow.shapes.prompts import TASKS, all_prompts
from advantageflow.store.prompts import source_sha256


def write(path: Path, *records: dict[str, object]) -> str:
    path.write_text("\n".join(map(json.dumps, records)))
    return str(path)


def test_the_embedded_prompts_pass_their_own_reward() -> None:
    assert load_prompts("shapes", get_reward("shapes")) == all_prompts()


def test_the_hard_source_only_adds_training_prompts_that_the_reward_can_read() -> None:
    prompts = load_prompts("shapes-hard", get_reward("shapes"))
    known = all_prompts()
    assert prompts[: len(known)] == known
    assert {prompt.split for prompt in prompts[len(known) :]} == {"train"}


@pytest.mark.parametrize(("source", "reward"), [("geneval", "geneval"), ("ocr", "jpeg")])
def test_generated_prompts_can_be_counted_seeded_and_read(source: str, reward: str) -> None:
    first = load_prompts(source, get_reward(reward), count=40, seed=1)
    splits = Counter(prompt.split for prompt in first)
    assert splits["train"] == 40
    other = load_prompts(source, get_reward(reward), count=40, seed=2)
    assert [p for p in first if p.split == "eval"] == [p for p in other if p.split == "eval"]
    assert [p for p in first if p.split == "train"] != [p for p in other if p.split == "train"]
    assert first == load_prompts(source, count=40, seed=1)


def test_a_generated_prompt_that_a_reward_cannot_read_is_named() -> None:
    with pytest.raises(DataError, match="'shapes' cannot read the spec") as caught:
        load_prompts("geneval", get_reward("shapes"), count=10)
    assert "geneval prompt 'a photo of" in caught.value.where


def test_a_file_on_s3_is_fetched_read_and_named_in_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "p.jsonl", {"text": "a", "split": "train"}, {"text": "b", "split": "eval"})
    write(tmp_path / "bad.jsonl", {"text": "a"}, {"txt": "b"})
    for name in ("fetch_file", "fetch_folder"):  # stands in for a bucket: what is read is the local copy
        monkeypatch.setattr(
            f"advantageflow.prompts.sources.{name}",
            lambda url, folder: Path(shutil.copy(tmp_path / url.removeprefix("s3://bucket/sets/"), folder)),
        )
    assert [prompt.text for prompt in load_prompts("s3://bucket/sets/p.jsonl")] == ["a", "b"]
    with pytest.raises(DataError) as caught:
        load_prompts("s3://bucket/sets/bad.jsonl")
    assert caught.value.where.startswith("s3://bucket/sets/bad.jsonl:2")


def test_only_paths_are_local_files() -> None:
    assert is_local_file("mine.txt")
    assert not any(map(is_local_file, ("shapes", "geneval", "ocr", "s3://bucket/mine.txt")))


def test_an_unknown_source_says_what_there_is() -> None:
    with pytest.raises(DataError, match="not a source of prompts") as caught:
        load_prompts("genevall")
    assert "'geneval'" in caught.value.remedy


def test_a_spec_that_the_reward_cannot_read_names_line_and_field(tmp_path: Path) -> None:
    good = {"class": "circle", "count": 1}
    source = write(
        tmp_path / "p.jsonl",
        {"text": "a", "split": "train", "include": [good]},
        {"text": "b", "split": "eval", "include": [good, {"class": "elephant", "count": 1}]},
        {"text": "c", "split": "eval", "include": []},
    )
    with pytest.raises(DataError, match="'shapes' cannot read the spec of 'b': 'elephant'") as caught:
        load_prompts(source, get_reward("shapes"))
    assert caught.value.where.startswith(f"{source}:2")
    assert "include[1].class" in caught.value.where
    assert "and 1 more" in caught.value.message


def test_a_reward_that_reads_no_spec_takes_any_prompt(tmp_path: Path) -> None:
    source = write(tmp_path / "p.jsonl", {"text": "a", "split": "train"}, {"text": "b", "split": "eval"})
    assert [prompt.text for prompt in load_prompts(source, get_reward("jpeg"))] == ["a", "b"]


@pytest.mark.parametrize("split", ["train", "eval"])
def test_a_source_with_one_split_only_says_which_is_missing(tmp_path: Path, split: str) -> None:
    source = write(tmp_path / "p.jsonl", {"text": "a", "split": split}, {"text": "b", "split": split})
    missing = {"train": "eval", "eval": "train"}[split]
    with pytest.raises(DataError, match="none of its 2 prompts") as caught:
        load_prompts(source, get_reward("jpeg"))
    assert caught.value.where == source
    assert caught.value.remedy == f"give some of them the split '{missing}'"


def test_a_held_out_set_that_is_small_is_told_with_its_size(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("\n".join(f"prompt {number}" for number in range(30)))
    told: list[str] = []
    held_out = [prompt for prompt in load_prompts(str(path), warn=told.append) if prompt.split == "eval"]
    assert told == [f"{path}: only {len(held_out)} of 30 prompts are held out, too few to judge a policy by"]
    path.write_text("a\nb")
    with pytest.raises(DataError, match="none of its 2 prompts") as caught:
        load_prompts(str(path))
    assert "make it a .csv whose first line is text,split" in caught.value.remedy


def test_held_out_prompts_are_balanced_and_all_training_prompts_kept() -> None:
    every = all_prompts()
    selected = select_held_out(every, 36)
    assert [p for p in selected if p.split == "train"] == [p for p in every if p.split == "train"]
    held_out = [p for p in selected if p.split == "eval"]
    assert Counter(p.task for p in held_out) == dict.fromkeys(TASKS, 6)
    assert len({p.prompt_id for p in held_out}) == 36


def test_the_choice_does_not_depend_on_the_order_and_grows_by_adding() -> None:
    prompts = [Prompt(f"{task} {k}", "eval", task) for task in "ab" for k in range(20)]

    def chosen(given: list[Prompt], count: int) -> set[str]:
        return {prompt.text for prompt in select_held_out(given, count)}

    assert chosen(prompts, 10) == chosen(prompts[::-1], 10)
    assert chosen(prompts, 10) < chosen(prompts, 20)


def test_fewer_held_out_prompts_than_wanted_are_all_used() -> None:
    prompts = [Prompt("a", "train", "t"), Prompt("b", "eval", "t"), Prompt("c", "eval", "u")]
    assert select_held_out(prompts, 100) == prompts


HELD_OUT = [Prompt(f"held out {number}", "eval", "all") for number in range(3)]


def prompts(count: int) -> list[Prompt]:
    return [*HELD_OUT, *(Prompt(f"train {number}", "train", "all") for number in range(count))]


@given(st.integers(1, 30), st.integers(1, 30), st.floats(0, 0.9), st.integers(0, 5), st.integers(0, 40))
def test_all_that_is_new_stays_and_of_the_old_the_share_asked_for_or_what_fills_a_round(
    new: int, old: int, share: float, seed: int, fills: int
) -> None:
    source = prompts(new + old)
    known = {prompt.prompt_id for prompt in source[len(HELD_OUT) + new :]}
    chosen = with_replay(source, known, share, seed, fills=fills)
    assert chosen == [prompt for prompt in source if prompt in chosen], "in the order of the source"
    assert [prompt for prompt in chosen if prompt.prompt_id not in known] == source[: len(HELD_OUT) + new]
    replayed = len(chosen) - len(HELD_OUT) - new
    assert replayed == min(old, max(round(new * share / (1 - share)), fills - new))


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
