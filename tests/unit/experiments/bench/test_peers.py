"""The yardstick is fair: the peers' order gives our losses and gradients, and does exactly the work that it should."""

from __future__ import annotations

import math
from collections import Counter
from itertools import chain
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from advantageflow.objectives.advantage_flow import AdvantageFlow
from advantageflow.objectives.base import WATCHED
from advantageflow.training.round import round_advantages
from advantageflow_experiments.bench.peers import Savings, make_ladder, peer_batch, peer_batches, peer_round
from advantageflow_experiments.bench.workload import Workload

ALL = [*(Savings(*[True] * count) for count in range(5)), Savings(text_once=True, no_reference=True, full_batches=True)]

without_base = AdvantageFlow(reference_weight=0.0)


def weights(work: Workload) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in work.policy.adapters.named_parameters().items()}


def train_ours(work: Workload) -> list[dict[str, float]]:
    return make_ladder(work)[-1].run()


@pytest.mark.parametrize("lam", [1.0, "auto"])
@pytest.mark.parametrize(("gradient_steps", "inner_epochs"), [(1, 3), (2, 4), (4, 2)])
def test_every_order_gives_our_losses_gradients_and_weights(
    make_work: Any, gradient_steps: int, inner_epochs: int, lam: float | str
) -> None:
    work = make_work(
        gradient_steps=gradient_steps,
        inner_epochs=inner_epochs,
        microbatch=7,
        objective=AdvantageFlow(lam=lam, reference_weight=0.0),
    )
    ours = train_ours(work)
    trained = weights(work)
    for savings in ALL:
        work.restart()
        steps = peer_round(work, savings)
        for name in ("loss", "gradient_norm", "samples"):
            assert [step[name] for step in steps] == pytest.approx([step[name] for step in ours], rel=1e-4, abs=1e-7)
        for name, value in weights(work).items():
            assert torch.allclose(value, trained[name], atol=1e-5), name


def test_restart_puts_everything_back(make_work: Any) -> None:
    work = make_work(objective=without_base)
    initial, first = weights(work), train_ours(work)
    work.restart()
    assert all(torch.equal(value, initial[name]) for name, value in weights(work).items())
    again = train_ours(work)
    assert [step["loss"] for step in again] == [step["loss"] for step in first], "the optimiser starts anew too"


@pytest.mark.parametrize("lam", [1.0, "auto"])
@pytest.mark.parametrize(("savings", "evaluations"), list(zip(ALL, (3, 3, 2, 1.5, 1.5, 2), strict=True)))
def test_each_saving_leaves_out_its_own_work(
    make_work: Any, savings: Savings, evaluations: float, lam: float | str
) -> None:
    """Two gradient steps: reuse saves the old policy's forward on half of the samples."""
    work = make_work(
        gradient_steps=2, inner_epochs=4, microbatch=8, objective=AdvantageFlow(lam=lam, reference_weight=0.0)
    )
    if savings.needed_only and lam == "auto":
        bad = bad_samples(work, step=1)
        evaluations = 1 + (bad + math.ceil((work.samples / 2 - bad) / WATCHED)) / work.samples
        assert 1 < evaluations < 1.5
    sizes, encoded = [], []
    work.policy.transformer.register_forward_hook(lambda *call: sizes.append(len(call[2][0])))
    encode = work.encode
    object.__setattr__(work, "encode", lambda groups: encoded.append(groups.tolist()) or encode(groups))
    peer_round(work, savings)
    assert sum(sizes) == pytest.approx(evaluations * work.samples)
    assert max(sizes) == (4 if savings.full_batches else 2), "a batch of rollouts at one timestep"
    # Two steps of four rollouts each, in batches of 2 rollouts: each rollout's text is encoded once.
    assert len(encoded) == (0 if savings.text_once else 2 * 4 / 2)
    assert Counter(chain.from_iterable(encoded)) == (Counter() if savings.text_once else {0: 4, 1: 4})


def bad_samples(work: Workload, step: int) -> int:
    advantages = round_advantages(work.data, work.settings).values.flatten()
    return int((advantages[work.minibatches()[step]] < 0).sum())


def test_ours_needs_fewer_and_larger_forwards(make_work: Any) -> None:
    work = make_work(gradient_steps=2, inner_epochs=4, microbatch=8, objective=without_base)
    sizes: list[int] = []
    work.policy.transformer.register_forward_hook(lambda *call: sizes.append(len(call[2][0])))
    make_ladder(work)[-1].run()
    assert sum(sizes) == 1.5 * work.samples
    assert set(sizes) == {8}


def test_a_batch_is_one_of_our_microbatches_when_its_timesteps_are_folded_in(make_work: Any) -> None:
    work = make_work(gradient_steps=2, inner_epochs=4, microbatch=8, objective=without_base)
    for samples in work.minibatches():
        batches = list(peer_batches(samples, peer_batch(work.settings)))
        assert [[len(indices) for indices in timesteps] for timesteps in batches] == [[2] * 4, [2] * 4]
        assert all(sum(map(len, timesteps)) == work.settings.microbatch for timesteps in batches)


@settings(deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=30), st.integers(1, 5))
def test_batches_hold_every_sample_once_one_timestep_at_a_time(samples: list[int], size: int) -> None:
    seen: list[int] = []
    for timesteps in peer_batches(torch.tensor(samples), size):
        rollouts = [samples[index] for index in timesteps[0].tolist()]
        assert len(rollouts) == len(set(rollouts)) <= size
        for indices in timesteps:
            assert [samples[index] for index in indices.tolist()] == rollouts[: len(indices)]
            seen += indices.tolist()
    assert sorted(seen) == list(range(len(samples)))
