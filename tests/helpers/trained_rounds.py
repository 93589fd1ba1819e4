"""A round that a policy has rolled out, to train on in memory."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from advantageflow.flow.advantages import Term
from advantageflow.flow.samplers import timesteps
from advantageflow.flow.sde import integrate_sde
from advantageflow.objectives.advantage_flow import AdvantageFlow
from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.sampling import step_noise, velocity_function
from advantageflow.settings import TrainingSettings
from advantageflow.training.data import RoundData
from advantageflow.training.policy import Policy
from advantageflow.training.round import round_advantages, train_round
from advantageflow.training.step import Step, transition_batches, velocity_batches

without_base = partial(AdvantageFlow, reference_weight=0.0)
GROUPS, SIZE, SHAPE = 4, 6, (4, 4, 4)
LEVEL = 0.7


def sampled(policy: Policy, seed: int = 0, size: int = SIZE) -> RoundData:
    """A round that the policy has rolled out stochastically; the reward is the mean of the latent."""
    generator = torch.Generator().manual_seed(0)
    embeds, pooled = torch.randn(GROUPS, 3, 32, generator=generator), torch.randn(GROUPS, 16, generator=generator)
    told = Conditioning({"prompt_embeds": embeds, "pooled": pooled})
    repeated = told.rows(torch.arange(GROUPS).repeat_interleave(size))
    velocity = velocity_function(policy.family, policy.transformer, repeated)
    noise = torch.randn(GROUPS * size, *SHAPE, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        latents, trajectories = integrate_sde(
            velocity,
            noise,
            timesteps(4),
            noise_level=LEVEL,
            step_noise=step_noise(range(1000 * seed, 1000 * seed + len(noise)), SHAPE, "cpu"),
            keep=True,
        )
    rewards = latents.flatten(1).mean(1).double().reshape(GROUPS, size)
    levels = timesteps(4)[:-1]
    return RoundData(latents, told, (Term(rewards),), {"soft": rewards}, trajectories=trajectories, levels=levels)


def weights(policy: Policy, adapter: str = "policy") -> list[Tensor]:
    return [value.detach().clone() for value in policy.adapters.named_parameters(adapter).values()]


def train(policy: Policy, data: RoundData, settings: TrainingSettings, **changes: Any) -> list[dict[str, float]]:
    settings = settings.model_copy(update=changes)
    return train_round(policy, data, round_advantages(data, settings), settings, seed=0, round_index=1)


def metrics_of(step: Step, indices: Tensor) -> dict[str, float]:
    """Of a microbatch."""
    objective = step.settings.objective
    batches_of = transition_batches if objective.needs.trajectories else velocity_batches
    batch = batches_of(step)(indices)
    return {name: value.item() for name, value in (objective.loss(batch)[1] | batch.measures()).items()}
