"""What AdvantageFlow's exact iteration does, on densities and on a flow whose velocities are exact.

`python -m advantageflow_experiments.theory docs/theory` draws the pictures of docs/theory/index.md, in under a minute.
"""

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import comb, sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from advantageflow.annotations import Axes
from advantageflow_experiments.compare.style import picture

Array = NDArray[np.float64]
GAMMA = 1.1  # the paper's


def advantages(rewards: Array, weights: Array, clip: float = 1.0) -> Array:
    """A of each outcome: its reward less the mean, over the standard deviation, clipped; 0 if all are equal."""
    centred = rewards - weights @ rewards
    deviation = sqrt(weights @ centred**2)
    return np.clip(centred / deviation, -clip, clip) if deviation > 0 else 0 * centred


def step(weights: Array, advantage: Array, gamma: float) -> Array:
    """`pi (gamma + A) / (gamma + E[A])`: the policy that fits the loss exactly."""
    moved = weights * (gamma + advantage)
    return moved / moved.sum()


def iterate(weights: Array, rewards: Array, rounds: int, gamma: float = GAMMA, decay: float = 0.0) -> Array:
    """Policies (rounds + 1, outcomes) of exact rounds; `decay` is the share of the old policy that a round keeps."""
    path = [weights]
    for _ in range(rounds):
        A = advantages(rewards, path[-1])
        path.append(decay * path[-1] + (1 - decay) * step(path[-1], A, gamma))
    return np.array(path)


def group_advantages(p: float, size: int, clip: float = 1.0) -> tuple[float, float]:
    """E[A] of a right and of a wrong image in groups of this size, many in a batch, scaled by the batch's deviation."""
    deviation = sqrt(p * (1 - p) * (size - 1) / size)
    others = [comb(size - 1, j) * p**j * (1 - p) ** (size - 1 - j) for j in range(size)]
    means = [
        sum(chance * np.clip((own - (own + j) / size) / deviation, -clip, clip) for j, chance in enumerate(others))
        for own in (1, 0)
    ]
    return float(means[0]), float(means[1])


def gain(p: float, right: float, wrong: float, gamma: float = GAMMA) -> float:
    """How much a round raises the share p of right images whose advantages are these on average."""
    return float(step(np.array([p, 1 - p]), np.array([right, wrong]), gamma)[0] - p)


@dataclass(frozen=True)
class Flow:
    """A rectified flow to a mixture of equal Gaussians, changed by rounds of exact minimisation at each x_t."""

    means: Array  # (modes, dimensions)
    spread: float  # standard deviation of each mode
    weights: Array  # of the modes at the start
    # what each round did: the modes' advantages, gamma, and the share of the old velocity that is kept
    changes: tuple[tuple[Array, float, float], ...] = ()

    def posterior(self, x: Array, t: float) -> Array:
        """Share (samples, modes) of each mode in the flow through x at t: round by round, from what is at x alone.

        v_theta minimises E[A |v_theta - v|^2 + gamma |v_theta - v_roll|^2 | x_t]; as v_roll and v are means over modes,
        the minimiser is the mean with shares `s (gamma + A) / (gamma + E[A | x_t])`.
        """
        variance = ((1 - t) * self.spread) ** 2 + t**2
        distance = ((x[:, None] - (1 - t) * self.means) ** 2).sum(-1)
        share = self.weights * np.exp(-(distance - distance.min(1, keepdims=True)) / (2 * variance))
        share /= share.sum(1, keepdims=True)
        for advantage, gamma, decay in self.changes:
            fitted = share * (gamma + advantage) / (gamma + share @ advantage)[:, None]
            share = decay * share + (1 - decay) * fitted
        return share

    def velocity(self, x: Array, t: float) -> Array:
        """E[eps - x_0 | x_t = x]."""
        variance = ((1 - t) * self.spread) ** 2 + t**2
        apart = x[:, None] - (1 - t) * self.means
        of_modes = (t - (1 - t) * self.spread**2) / variance * apart - self.means
        return np.einsum("nk,nkd->nd", self.posterior(x, t), of_modes)

    def sample(self, count: int, seed: int, steps: int = 40) -> Array:
        """Masses of the modes among images drawn with Heun's method."""
        x = np.random.default_rng(seed).standard_normal((count, self.means.shape[1]))
        times = np.linspace(1, 0, steps + 1)
        for t, following in itertools.pairwise(times):
            first = self.velocity(x, t)
            second = self.velocity(x + (following - t) * first, following) if following > 0 else first
            x = x + (following - t) * (first + second) / 2
        nearest = ((x[:, None] - self.means) ** 2).sum(-1).argmin(1)
        return np.bincount(nearest, minlength=len(self.means)) / count

    def run(self, rewards: Array, rounds: int, gamma: float = GAMMA, decay: float = 0.0, count: int = 2000) -> Array:
        """Masses (rounds + 1, modes) over rounds in which advantages come from the images that the flow then draws."""
        flow, path = self, []
        for number in range(rounds + 1):
            path.append(flow.sample(count, number))
            flow = replace(flow, changes=(*flow.changes, (advantages(rewards, path[-1]), gamma, decay)))
        return np.array(path)


def ring(weights: Array) -> Flow:
    """Modes on a circle."""
    angles = 2 * np.pi * np.arange(len(weights)) / len(weights)
    return Flow(3 * np.stack([np.cos(angles), np.sin(angles)], 1), 0.3, weights)


def drift(share: float, size: int, rounds: int, seed: int, runs: int = 4000) -> tuple[Array, Array]:
    """What is left of `q (1 - q)`, q the share of one of two equally good modes, where each round fits the weights of
    `size` images and draws the next from them: simulated, and by the formula; rewards are noise of variance 1.
    """
    generator = np.random.default_rng(seed)
    q, left, squares = np.full(runs, share), [share * (1 - share)], []
    for _ in range(rounds):
        modes = generator.random((runs, size)) < q[:, None]
        rewards = generator.standard_normal((runs, size))
        centred = rewards - rewards.mean(1, keepdims=True)
        A = centred / np.abs(centred).max(1, keepdims=True)  # within [-1, 1], with mean 0
        q = (modes * (1 + A / GAMMA)).mean(1)
        left.append(float((q * (1 - q)).mean()))
        squares.append(float((A**2).mean()))
    lost = (1 + np.mean(squares) / GAMMA**2) / size
    return np.array(left) / left[0], (1 - lost) ** np.arange(rounds + 1)


def _heavy(tail: float, count: int) -> Array:
    """Rewards at equally likely quantiles of a Pareto distribution of this tail index; uniform for infinity."""
    ranks = (np.arange(count) + 0.5) / count
    return ranks if tail == np.inf else (1 - ranks) ** (-1 / tail)


def draw(folder: Path) -> None:
    """Write convergence.png and noise.png."""
    folder.mkdir(parents=True, exist_ok=True)
    with picture(folder / "convergence.png", 10, 7.4) as figure:
        (left, right), (below, last) = figure.subplots(2, 2)
        start, right_or_wrong = np.array([0.05, 0.95]), np.array([1.0, 0.0])
        for gamma in (1.1, 2.0, 5.0):
            exact = iterate(start, right_or_wrong, 12, gamma)[:, 0]
            _both(left, exact, ring(start).run(right_or_wrong, 12, gamma)[:, 0], f"gamma {gamma:g}")
            right.plot(1 - exact)
            right.plot([4, 12], 0.3 * (1 - 1 / gamma) ** np.array([0.0, 8.0]), color="grey", lw=1, ls=":")
        left.set(title="right images, 0/1 reward", xlabel="round", ylabel="share")
        right.set(title="wrong images; dotted: 1 - 1 / gamma", xlabel="round", yscale="log", ylim=(1e-7, 1))
        rewards = np.array([1.0, 0.2, 0.5, 0.0, 1.0, 0.7, 0.4, 0.9])
        weights = np.array([2.0, 6, 6, 6, 1, 6, 6, 6]) / 39
        exact, flow = iterate(weights, rewards, 12), ring(weights).run(rewards, 12, count=4000)
        for mode, name in ((0, "reward 1"), (4, "reward 1, half as likely"), (7, "reward .9"), (5, "reward .7")):
            _both(below, exact[:, mode], flow[:, mode], name)
        below.set(title="eight modes", xlabel="round", ylabel="share")
        below.legend(fontsize=9)
        for decay in (0.0, 0.5, 0.9):
            found = ring(start).run(right_or_wrong, 40, decay=decay, count=1000)
            _both(last, iterate(start, right_or_wrong, 40, decay=decay)[:, 0], found[:, 0], f"decay {decay:g}")
        last.set(title="a moving average of velocities", xlabel="round")
        last.legend(fontsize=9)
        left.legend(fontsize=9)
    with picture(folder / "noise.png", 13, 4) as figure:
        groups, tails, lost = figure.subplots(1, 3)
        sizes = [2, 3, 4, 6, 8, 12, 24, 48]
        for p in (0.5, 0.1):
            whole = gain(p, *(float(one) for one in advantages(np.array([1.0, 0.0]), np.array([p, 1 - p]))))
            _both(groups, np.array([gain(p, *group_advantages(p, size)) / whole for size in sizes]),
                  np.array([_drawn_gain(p, size) / whole for size in sizes]), f"right: {p:.0%}", sizes)  # fmt: skip
        groups.plot(sizes, [sqrt((k - 1) / k) for k in sizes], color="grey", lw=1, ls=":", label="sqrt((K - 1) / K)")
        groups.set(title="gain of a round beside that of all images", xlabel="group size K", xscale="log")
        groups.set_xticks(sizes, [str(size) for size in sizes])
        groups.minorticks_off()
        groups.legend(fontsize=9)
        for tail in (np.inf, 3.0, 1.5, 1.0):
            name = "uniform" if tail == np.inf else f"tail index {tail:g}"
            half = slice(5000, None)
            exact = iterate(np.full(10_000, 1e-4), _heavy(tail, 10_000), 20)[:, half].sum(1)
            _both(tails, exact, _particles(tail, 20), name)
        tails.set(title="images above the first median", xlabel="round")
        tails.legend(fontsize=9)
        for size in (8, 24, 96):
            simulated, formula = drift(0.5, size, 30, seed=size)
            _both(lost, formula, simulated, f"{size} images a round")
        lost.set(title="diversity among equally good images", xlabel="round", ylim=(0, 1))
        lost.legend(fontsize=9)


def _drawn_gain(p: float, size: int, groups: int = 40_000) -> float:
    """The gain of one batch of groups."""
    right = np.random.default_rng(size).random((groups, size)) < p
    centred = right - right.mean(1, keepdims=True)
    A = np.clip(centred / sqrt((centred**2).mean()), -1, 1)
    return float((right * (GAMMA + A)).sum() / (GAMMA + A).sum() - right.mean())


def _particles(tail: float, rounds: int, count: int = 4000) -> Array:
    """Share of the upper half where each round draws anew from the images of the one before."""
    generator = np.random.default_rng(0)
    ranks, path = generator.random(count), []
    for _ in range(rounds + 1):
        path.append((ranks > 0.5).mean())
        rewards = ranks if tail == np.inf else (1 - ranks) ** (-1 / tail)
        A = advantages(rewards, np.full(count, 1 / count))
        ranks = generator.choice(ranks, count, p=step(np.full(count, 1 / count), A, GAMMA))
    return np.array(path)


def _both(axes: Axes, theory: Array, found: Array, name: str, places: Sequence[int] | None = None) -> None:
    """A line for the theory, and dots for what was drawn."""
    x = range(len(theory)) if places is None else places
    (line,) = axes.plot(x, theory, label=name, lw=1.6)
    axes.plot(x, found, "o", ms=3.5, color=line.get_color())


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
