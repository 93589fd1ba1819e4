"""Even splits: how many items each task gives when a total is dealt evenly among tasks of different sizes."""

from collections.abc import Mapping


def balanced_counts(sizes: Mapping[str, int], total: int, start: int = 0) -> dict[str, int]:
    """Deal `total` one at a time round the tasks, passing over those that have no more to give.

    Counts of tasks that are not exhausted differ by at most one; they are given in sorted order of the tasks. `start`
    is the index in that order (modulo the number of tasks) of the task that is dealt to first, so that callers can
    rotate who gets the odd ones. Raises ValueError: `total` exceeds the sum of sizes.
    """
    if total > sum(sizes.values()):
        raise ValueError(f"cannot deal {total} of {sum(sizes.values())}")
    names = sorted(sizes)
    counts = dict.fromkeys(names, 0)
    turn = start
    while sum(counts.values()) < total:
        name = names[turn % len(names)]
        if counts[name] < sizes[name]:
            counts[name] += 1
        turn += 1
    return counts
