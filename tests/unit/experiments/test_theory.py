"""The statements of docs/theory, each held to the iteration itself."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from theory import minimiser

from advantageflow_experiments.theory import Flow, advantages, drift, gain, group_advantages, iterate, ring, step

RIGHT_OR_WRONG = np.array([1.0, 0.0])


def binary_step(p: float, gamma: float) -> float:
    """The share of right images after a round, in closed form: it grows below a half, and errors shrink above."""
    root = sqrt(p * (1 - p))
    if p < 0.5:
        return p * (gamma + 1) / (gamma + p - root)
    return 1 - (1 - p) * (gamma - 1) / (gamma + root - (1 - p))


@settings(max_examples=50)
@given(st.floats(0.001, 0.999), st.floats(1.0, 10.0))
def test_a_round_with_a_0_1_reward_has_a_closed_form_that_grows_and_then_forgets_errors(p: float, gamma: float) -> None:
    after = iterate(np.array([p, 1 - p]), RIGHT_OR_WRONG, 1, gamma)[1, 0]
    assert after == pytest.approx(binary_step(p, gamma), abs=1e-9)
    if p < 0.5:
        assert after >= p * (1 + 1 / gamma) * (1 - 1e-9)
    else:
        assert 1 - after <= (1 - p) * (1 - 1 / gamma) + 1e-9


@settings(max_examples=50)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=6), st.integers(0, 99))
def test_rewards_never_fall_equal_rewards_keep_their_odds_and_the_best_remain(levels: list[int], seed: int) -> None:
    rewards, weights = np.array(levels, float), np.random.default_rng(seed).dirichlet(np.ones(len(levels)))
    path = iterate(weights, rewards, 200)
    means = path @ rewards
    assert (np.diff(means) >= -1e-9).all()
    best = rewards == rewards.max()
    assert path[-1][best] == pytest.approx(weights[best] / weights[best].sum(), abs=1e-6)


def test_the_minimiser_at_a_point_is_the_mean_with_the_new_shares() -> None:
    flow = ring(np.array([0.2, 0.5, 0.3]))
    A, x, t = np.array([-1.0, 0.4, 1.0]), np.array([[0.5, -0.2]]), 0.6
    tuned = Flow(flow.means, flow.spread, flow.weights, ((A, 1.1, 0.0),))
    share = np.round(flow.posterior(x, t)[0] * 10_000).astype(int)  # modes as so many equally likely samples
    of_modes = [Flow(flow.means[[k]], flow.spread, np.ones(1)).velocity(x, t)[0] for k in range(3)]
    targets = torch.tensor(np.repeat(of_modes, share, axis=0))
    fitted = minimiser(targets, targets.mean(0), torch.tensor(np.repeat(A, share)), 1.1)
    assert fitted.numpy() == pytest.approx(tuned.velocity(x, t)[0], abs=1e-3)


def test_a_flow_that_is_tuned_point_by_point_draws_the_reweighted_images() -> None:
    weights = np.array([0.2, 0.5, 0.3])
    A = advantages(np.array([1.0, 0.0, 0.5]), weights)
    flow = ring(weights)
    tuned = Flow(flow.means, flow.spread, weights, ((A, 1.1, 0.0),))
    assert flow.sample(2000, 0) == pytest.approx(weights, abs=0.04)
    assert tuned.sample(2000, 0) == pytest.approx(step(weights, A, 1.1), abs=0.04)


@pytest.mark.parametrize("size", [2, 5, 24])
def test_groups_learn_as_from_a_larger_gamma_and_less_where_advantages_are_clipped(size: int) -> None:
    whole = gain(0.3, *advantages(RIGHT_OR_WRONG, np.array([0.3, 0.7]), clip=9))
    assert gain(0.3, *group_advantages(0.3, size, clip=9)) == pytest.approx(sqrt((size - 1) / size) * whole)
    clipped = gain(0.5, *group_advantages(0.5, size)) / gain(0.5, *advantages(RIGHT_OR_WRONG, np.array([0.5, 0.5])))
    assert clipped < sqrt((size - 1) / size)


def test_diversity_is_lost_as_the_formula_says() -> None:
    simulated, formula = drift(0.5, 12, 8, seed=0)
    assert simulated == pytest.approx(formula, abs=0.03)
