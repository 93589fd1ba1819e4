"""What a comparison says of its runs while they go: what each came to, how far one is, how long the others may take."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from advantageflow_experiments.compare.comparison import CellResult
from advantageflow_pipelines.local.workdir import WorkDir


def describe(result: CellResult) -> str:
    """A run's outcome in a line, such as 'awm, seed 1: accuracy 0.423 -> 0.612, 187 s'."""
    base, last = result.points[0], result.last
    name = f"{result.variant}, seed {result.seed}"
    change = f"accuracy {base.strict:.3f} -> {last.strict:.3f}"
    if result.diverged_round is not None:
        return f"{name}: diverged in round {result.diverged_round}; {change} after round {last.round}"
    return f"{name}: {change}, {result.seconds:.0f} s"


def time_left(results: Sequence[CellResult], total: int, jobs: int) -> str:
    """An estimate such as '; about 0:25:00 left': the runs still to be done take as long as those that are complete."""
    seconds = [result.seconds for result in results if result.diverged_round is None]
    remaining = total - len(results)
    if not remaining or not seconds:
        return ""
    left = sum(seconds) / len(seconds) * remaining / min(jobs, remaining)
    return f"; about {datetime.timedelta(seconds=round(left))} left"


def rounds_done(workdir: WorkDir) -> int:
    """Rounds of a run before the one whose rollouts are being made."""
    journals = workdir.journal.glob("rollout-r*.jsonl")
    return max((int(path.name.split("-")[1][1:]) for path in journals), default=1) - 1
