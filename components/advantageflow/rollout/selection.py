"""Which prompts a round rolls out, how they are split into chunks and shards, and which steps are noisy, by seed."""

from collections.abc import Mapping, Sequence

from advantageflow.balance import balanced_counts
from advantageflow.errors import DataError
from advantageflow.records import Prompt, derive_seed
from advantageflow.settings import RolloutSettings


def select_prompts(seed: int, round_index: int, prompts: Sequence[Prompt], count: int) -> list[Prompt]:
    """The prompts of a round: as many of each task, none twice, and none again before its task is used up.
    Raises DataError: there are fewer than `count`.

    Each task's prompts form a stream: a permutation for each epoch, one after another. A round takes the next ones of
    each task. Every call walks the rounds from the first, which costs nothing beside a model and keeps no state.

    Args:
        round_index: the round, from 1.
        prompts: training prompts; their order does not matter.

    Returns:
        `count` distinct prompts, with tasks alternating so that chunks are alike.
    """
    by_task = prompts_by_task(prompts, count)
    sizes = {task: len(members) for task, members in by_task.items()}
    streams = {task: _Stream(seed, task, sorted(members)) for task, members in sorted(by_task.items())}
    taken: dict[str, list[str]] = {}
    for number in range(1, round_index + 1):
        counts = task_counts(sizes, count, number)
        taken = {task: stream.take(counts[task]) for task, stream in streams.items()}
    return [by_task[task][prompt_id] for task, prompt_id in alternate(taken)]


def prompts_by_task(prompts: Sequence[Prompt], count: int) -> dict[str, dict[str, Prompt]]:
    """The prompts by task and prompt_id, of which there must be `count`. Raises DataError: there are fewer."""
    by_task: dict[str, dict[str, Prompt]] = {}
    for prompt in prompts:
        by_task.setdefault(prompt.task, {})[prompt.prompt_id] = prompt
    total = sum(map(len, by_task.values()))
    if count > total:
        message = f"a round takes {count} prompts, but there are only {total} to train on"
        remedy = f"lower rollout.prompts_per_round to at most {total}, or give more prompts"
        raise DataError(message, where="rollout.prompts_per_round", remedy=remedy)
    return by_task


def task_counts(sizes: Mapping[str, int], count: int, round_index: int) -> dict[str, int]:
    """How many prompts of each task a round takes: an even split, the odd ones going round from round to round."""
    return balanced_counts(sizes, count, start=(round_index - 1) * count)


def alternate(taken: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """(task, id) pairs: the first of each task, then the second of each, and so on."""
    longest = max(map(len, taken.values()), default=0)
    return [(task, ids[index]) for index in range(longest) for task, ids in taken.items() if index < len(ids)]


def chunks(prompts: Sequence[Prompt], size: int) -> list[list[Prompt]]:
    """Groups that go through the model together; the last may be smaller. Independent of sharding."""
    return [list(prompts[start : start + size]) for start in range(0, len(prompts), size)]


def shard_of(chunked: Sequence[list[Prompt]], shard: int, shards: int) -> list[list[Prompt]]:
    """The chunks of one shard: every `shards`-th, from `shard` on; none if there are fewer chunks than shards."""
    return list(chunked[shard::shards])


def images_of_shard(settings: RolloutSettings, shard: int) -> int:
    """How many images a shard has: a group for each prompt of its chunks."""
    size, count = settings.batch_groups, settings.prompts_per_round
    starts = range(shard * size, count, settings.shards * size)
    return settings.group_size * sum(min(size, count - start) for start in starts)


def noisy_window(settings: RolloutSettings, seed: int, number: int) -> tuple[int, int] | None:
    """Which steps of a round are noisy, the first and the one after the last; the same for all rollouts of the round.

    Args:
        number: of the round, counted from the base model on.
    """
    if settings.sde_window is None:
        return None
    first, past = settings.window_range
    start = first + derive_seed(seed, "sde window", number) % (past - first - settings.sde_window + 1)
    return start, start + settings.sde_window


class _Stream:
    """An endless sequence of a task's prompt ids: one seeded permutation after another."""

    def __init__(self, seed: int, task: str, ids: list[str]) -> None:
        self._seed, self._task, self._ids = seed, task, ids
        self._epoch = 0
        self._left: list[str] = []

    def take(self, count: int) -> list[str]:
        """The next `count` (at most all) ids, all distinct."""
        if count <= len(self._left):
            taken, self._left = self._left[:count], self._left[count:]
            return taken
        tail = self._left
        following = self._permutation()
        # What the tail holds comes later in the new epoch, so that no round has a prompt twice.
        head = [one for one in following if one not in tail][: count - len(tail)]
        self._left = [one for one in following if one not in head]
        return tail + head

    def _permutation(self) -> list[str]:
        epoch, self._epoch = self._epoch, self._epoch + 1
        return sorted(self._ids, key=lambda one: derive_seed(self._seed, "selection", self._task, epoch, one))
