"""A round's prompts: a pure function of seed and round, balanced over tasks, each used before any comes again."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advantageflow.balance import balanced_counts
from advantageflow.errors import DataError
from advantageflow.records import Prompt
from advantageflow.rollout.selection import chunks, images_of_shard, select_prompts, shard_of
from advantageflow.settings import RolloutSettings


def make_prompts(sizes: dict[str, int]) -> list[Prompt]:
    return [Prompt(f"{task} {k}", "train", task, {}) for task, size in sizes.items() for k in range(size)]


task_sizes = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 12), min_size=1)


@given(task_sizes, st.data())
def test_shares_add_up_and_differ_by_one_at_most_where_a_task_is_not_used_up(
    sizes: dict[str, int], data: st.DataObject
) -> None:
    total = data.draw(st.integers(0, sum(sizes.values())))
    shares = balanced_counts(sizes, total, start=data.draw(st.integers(0, 20)))
    assert sum(shares.values()) == total
    assert all(shares[task] <= sizes[task] for task in sizes)
    open_tasks = [shares[task] for task in sizes if shares[task] < sizes[task]]
    if open_tasks:
        assert max(shares.values()) - min(open_tasks) <= 1


def test_the_odd_ones_rotate() -> None:
    sizes = {"a": 9, "b": 9, "c": 9}
    assert balanced_counts(sizes, 4, start=0) == {"a": 2, "b": 1, "c": 1}
    assert balanced_counts(sizes, 4, start=4) == {"a": 1, "b": 2, "c": 1}


def test_more_than_there_is_cannot_be_dealt() -> None:
    with pytest.raises(ValueError, match="cannot deal 3 of 2"):
        balanced_counts({"a": 2}, 3)


@settings(deadline=None)
@given(task_sizes, st.integers(0, 2**31), st.integers(1, 8), st.data())
def test_a_round_has_distinct_prompts_in_equal_shares_whatever_their_order_in_the_file(
    sizes: dict[str, int], seed: int, round_index: int, data: st.DataObject
) -> None:
    prompts = make_prompts(sizes)
    count = data.draw(st.integers(1, len(prompts)))
    chosen = select_prompts(seed, round_index, prompts, count)
    assert len(chosen) == count == len({prompt.prompt_id for prompt in chosen})
    shares = Counter(prompt.task for prompt in chosen)
    open_tasks = [shares[task] for task in sizes if shares[task] < sizes[task]]
    if open_tasks:
        assert max(shares.values()) - min(open_tasks) <= 1
    shuffled = data.draw(st.permutations(prompts))
    assert select_prompts(seed, round_index, shuffled, count) == chosen


@settings(deadline=None)
@given(task_sizes, st.integers(0, 2**31), st.data())
def test_no_prompt_comes_again_before_its_task_is_used_up(
    sizes: dict[str, int], seed: int, data: st.DataObject
) -> None:
    prompts = make_prompts(sizes)
    count = data.draw(st.integers(1, len(prompts)))
    rounds = [select_prompts(seed, round_index, prompts, count) for round_index in range(1, 8)]
    uses: Counter[str] = Counter()
    for prompt in chain.from_iterable(rounds):
        uses[prompt.prompt_id] += 1
    for task in sizes:
        of_task = [uses[prompt.prompt_id] for prompt in prompts if prompt.task == task]
        assert max(of_task) - min(of_task) <= 1


def test_seeds_and_rounds_choose_differently() -> None:
    prompts = make_prompts({"a": 50, "b": 50})
    first = select_prompts(0, 1, prompts, 10)
    assert select_prompts(0, 1, prompts, 10) == first
    assert select_prompts(0, 2, prompts, 10) != first
    assert select_prompts(1, 1, prompts, 10) != first


def test_tasks_alternate_so_that_chunks_are_alike() -> None:
    chosen = select_prompts(0, 1, make_prompts({"a": 9, "b": 9, "c": 9}), 9)
    assert [{prompt.task for prompt in chunk} for chunk in chunks(chosen, 3)] == [{"a", "b", "c"}] * 3


def test_more_prompts_than_there_are_says_how_many_there_are() -> None:
    with pytest.raises(DataError, match="takes 4 prompts, but there are only 3") as caught:
        select_prompts(0, 1, make_prompts({"a": 3}), 4)
    assert caught.value.where == "rollout.prompts_per_round"
    assert "at most 3" in caught.value.remedy


@given(st.integers(0, 30), st.integers(1, 9), st.integers(1, 6))
def test_shards_share_out_the_same_chunks_for_any_number_of_shards(count: int, size: int, shards: int) -> None:
    chunked = chunks(make_prompts({"a": count}), size)
    assert [prompt for chunk in chunked for prompt in chunk] == make_prompts({"a": count})
    assert all(len(chunk) == size for chunk in chunked[:-1])
    dealt = [shard_of(chunked, shard, shards) for shard in range(shards)]
    assert sorted(map(id, chain.from_iterable(dealt))) == sorted(map(id, chunked))
    rollout = RolloutSettings(prompts_per_round=max(count, 1), batch_groups=size, shards=shards, group_size=3)
    images = [images_of_shard(rollout, shard) for shard in range(shards)]
    assert count == 0 or images == [3 * sum(map(len, own)) for own in dealt]
