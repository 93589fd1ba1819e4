"""One round of AdvantageFlow: gradient steps on a batch of scored rollouts, in memory, without files."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from advantageflow.errors import SettingsError, TrainingError
from advantageflow.flow.advantages import Advantages, group_advantages
from advantageflow.flow.objectives import VelocityBatch, advantage_flow_loss
from advantageflow.flow.path import interpolate, velocity_target
from advantageflow.flow.times import sample_times
from advantageflow.policy.adapters import Adapters
from advantageflow.records import ADAPTER_FOLDER, ROLLOUT_ADAPTER_FOLDER, derive_seed
from advantageflow.settings import TrainingSettings
from advantageflow.training.data import RoundData
from advantageflow.training.velocity import predict_velocity

Samples = Int[Tensor, " samples"]
PerSample = Float[Tensor, " rollouts"]
Metrics = dict[str, float]


@dataclass(frozen=True)
class Policy:
    """The model in training.

    Attributes:
        transformer: frozen base with the adapters attached; its device and dtype are the computation's.
        adapters: the trained 'policy' and the frozen 'rollout_policy'.
        optimiser: over the adapters' parameters; keeps its moments from round to round.
    """

    transformer: nn.Module
    adapters: Adapters
    optimiser: torch.optim.AdamW

    def is_rollout_policy(self) -> bool:
        """Whether the trained policy still equals the rollout policy."""
        rollout = self.adapters.named_parameters(ROLLOUT_ADAPTER_FOLDER)
        return all(torch.equal(value, rollout[name]) for name, value in self.adapters.named_parameters().items())

    def largest_weight(self) -> Tensor:
        """Largest absolute value in the trained adapter."""
        return torch.stack([weight.detach().abs().amax() for weight in self.adapters.parameters()]).amax()


def train_round(
    policy: Policy,
    data: RoundData,
    settings: TrainingSettings,
    *,
    seed: int,
    round_index: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Metrics]:
    """Train the policy on a round's rollouts, then move the rollout policy toward it.

    Every rollout is visited `settings.passes` times, each time at a fresh time t and noise; an optimiser step takes an
    equal share of the visits. All randomness comes from `seed` and `round_index`. Rollouts with A = 0 are visited too:
    the regulariser keeps the policy where it is on them.

    Args:
        policy: changed in place.
        data: on the policy's device.
        settings: of the training stage.
        seed: the run's.
        round_index: of the round.
        progress: told the visits done and in all.

    Returns:
        Metrics of each optimiser step: 'loss', 'advantage_loss', 'regulariser', 'error' |v_theta - v|^2, 'deviation'
        |v_theta - v_roll|^2, 'gradient_norm' before clipping, 'seconds', 'samples'.

    Raises:
        SettingsError: there are more gradient steps than visits.
        TrainingError: a loss, gradient or weight is not finite; the rollout policy is left as it was.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "training", round_index))
    advantages = round_advantages(data, settings).values.flatten().to(data.latents)
    visits, done, steps = len(advantages) * settings.passes, 0, []
    for number, samples in enumerate(_shares(len(advantages), settings, generator)):
        started = time.perf_counter()

        def advance(count: int) -> None:
            nonlocal done
            done += count
            progress(done, visits)

        # On a round's first step the policy usually still is the rollout policy: then v_roll is v_theta.
        moved = number > 0 or not policy.is_rollout_policy()
        metrics = _accumulate_gradient(policy, data, advantages, samples, settings, generator, moved, advance)
        metrics["gradient_norm"] = nn.utils.clip_grad_norm_(policy.adapters.parameters(), settings.max_grad_norm)
        values = _read(metrics)
        _check_finite(values, f"round {round_index}, optimiser step {number + 1} of {settings.gradient_steps}")
        policy.optimiser.step()
        policy.optimiser.zero_grad()
        steps.append({**values, "seconds": time.perf_counter() - started, "samples": float(len(samples))})
    _check_finite(_read({"largest_weight": policy.largest_weight()}), f"round {round_index}, last optimiser step")
    policy.adapters.move_rollout_policy(settings.rollout_decay)
    return steps


def round_advantages(data: RoundData, settings: TrainingSettings) -> Advantages:
    """The advantages that `train_round` trains on."""
    return group_advantages(data.rewards, scale=settings.advantage_scale, clip=settings.advantage_clip)


def _shares(count: int, settings: TrainingSettings, generator: torch.Generator) -> Iterator[Samples]:
    """Which rollouts each optimiser step visits: permutations of them all, one a pass, cut into equal shares."""
    if count * settings.passes < settings.gradient_steps:
        message = (
            f"{settings.gradient_steps} gradient steps for {count} rollouts x {settings.passes} passes: some are empty"
        )
        raise SettingsError(message, where="training.gradient_steps", remedy="lower it, or make more rollouts a round")
    order = torch.cat([torch.randperm(count, generator=generator) for _ in range(settings.passes)])
    yield from order.tensor_split(settings.gradient_steps)


def _accumulate_gradient(
    policy: Policy,
    data: RoundData,
    advantages: PerSample,
    samples: Samples,
    settings: TrainingSettings,
    generator: torch.Generator,
    moved: bool,
    advance: Callable[[int], None],
) -> dict[str, Tensor]:
    """Add the gradient of the mean loss over `samples`, one microbatch after the other; metrics stay on the device."""
    latents, device = data.latents, data.latents.device
    # Drawn on the CPU for the whole step: the same on any device, in microbatches of any size.
    times = sample_times(len(samples), settings.timestep_sampling, generator).to(device)
    noise = torch.randn(len(samples), *latents.shape[1:], generator=generator).to(device)
    totals: dict[str, Tensor] = {}
    for part in torch.arange(len(samples)).split(settings.microbatch):
        chosen = samples[part].to(device)
        group = chosen // data.group_size
        x_t = interpolate(latents[chosen], noise[part], times[part])
        inputs = (x_t, times[part], data.prompt_embeds[group], data.pooled[group])
        v_roll = _rollout_velocity(policy, inputs) if moved else None
        velocity = predict_velocity(policy.transformer, *inputs)
        batch = VelocityBatch(
            policy=velocity,
            target=velocity_target(latents[chosen], noise[part]),
            rollout=velocity.detach() if v_roll is None else v_roll,
            advantages=advantages[chosen],
        )
        loss, metrics = advantage_flow_loss(batch, lam=settings.lam, normalise_error=settings.normalise_error)
        share = len(part) / len(samples)
        (share * loss).backward()
        totals = {name: totals.get(name, 0) + share * value for name, value in metrics.items()}
        advance(len(part))
    return totals


@torch.no_grad()
def _rollout_velocity(policy: Policy, inputs: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    policy.adapters.use(ROLLOUT_ADAPTER_FOLDER)
    velocity = predict_velocity(policy.transformer, *inputs)
    policy.adapters.use(ADAPTER_FOLDER)
    return velocity


def _read(metrics: dict[str, Tensor]) -> Metrics:
    """The one transfer from the device of an optimiser step."""
    return dict(zip(metrics, torch.stack(list(metrics.values())).tolist(), strict=True))


def _check_finite(values: Metrics, where: str) -> None:
    wrong = [name for name, value in values.items() if not math.isfinite(value)]
    if wrong:
        remedy = "raise training.lam (1 is safe for every advantage) or lower training.learning_rate"
        raise TrainingError(f"training diverged: {', '.join(wrong)} not finite", where=where, remedy=remedy)
