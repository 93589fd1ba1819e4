"""The rows of the benchmark: the peers' loop, then one saving after another, up to this package's own training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from advantageflow.objectives.batches import Metrics
from advantageflow.training.round import round_advantages, train_round
from advantageflow_experiments.bench.peers import ROUND, Savings, peer_round
from advantageflow_experiments.bench.workload import CompiledBlocks, Workload

YARDSTICK = "the peers' loop"
FOLDED = "timesteps folded into the batch"
BFLOAT16 = "bfloat16 base"
COMPILED = "blocks compiled"
BEST_PEER = "the best open peer"


@dataclass(frozen=True)
class Rung:
    """One way to train the round; each keeps the savings of those before it.

    Attributes:
        name: what it saves.
        work: what it trains.
        train: does it, once.
    """

    name: str
    work: Workload
    train: Callable[[], list[Metrics]]


def make_ladder(
    work: Workload, low_precision: Workload | None = None, compiled: CompiledBlocks | None = None
) -> list[Rung]:
    """All rows, the yardstick first.

    Args:
        work: with a float32 base.
        low_precision: the same with a bfloat16 base, where the device is made for it.
        compiled: in which the latter's blocks are compiled; None where they are not to be.
    """

    def peers(name: str, savings: Savings) -> Rung:
        return Rung(name, work, lambda: peer_round(work, savings))

    def ours(name: str, work: Workload) -> Rung:
        return Rung(name, work, lambda: _train_round(work))

    rungs = [
        peers(YARDSTICK, savings := Savings()),
        peers("text encoded once", savings := replace(savings, text_once=True)),
        peers("no reference forward", savings := replace(savings, no_reference=True)),
        peers("v_roll reused on the first step", savings := replace(savings, reuse_first=True)),
        peers("v_roll only where it has a weight", replace(savings, needed_only=True)),
        ours(FOLDED, work),
    ]
    if low_precision is not None:
        rungs.append(ours(BFLOAT16, low_precision))
        if compiled is not None:
            rungs.append(Rung(COMPILED, low_precision, lambda: _within(compiled, low_precision)))
    return rungs


def best_peer(work: Workload) -> Rung:
    """A fairer yardstick, as Flow-Factory trains: text encoded once, no forward that the loss does not use, v_roll of
    all samples on every step, batches of one timestep as large as ours.

    Args:
        work: in the precision of our own last row.
    """
    savings = Savings(text_once=True, no_reference=True, full_batches=True)
    return Rung(BEST_PEER, work, lambda: peer_round(work, savings))


def _within(compiled: CompiledBlocks, work: Workload) -> list[Metrics]:
    with compiled:
        return _train_round(work)


def _train_round(work: Workload) -> list[Metrics]:
    advantages, minibatches = round_advantages(work.data, work.settings), work.minibatches()
    return train_round(
        work.policy, work.data, advantages, work.settings, seed=work.seed, round_index=ROUND, minibatches=minibatches
    )
