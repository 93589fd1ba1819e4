"""Weights of several rewards that follow the gradients which each of them alone would give."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from advantageflow.flow.advantages import Term, combined_advantages
from advantageflow.flow.simplex import nearest_on_simplex
from advantageflow.objectives.batches import Metrics
from advantageflow.records import derive_seed
from advantageflow.settings import TrainingSettings
from advantageflow.training.data import RoundData
from advantageflow.training.group import Group
from advantageflow.training.policy import Policy
from advantageflow.training.step import PerRollout, Samples, Step, transition_batches, velocity_batches

Gradients = Float[Tensor, "terms parameters"]

PROBED = 2  # microbatches whose gradients stand for the round's


def weigh_rewards(
    policy: Policy, data: RoundData, settings: TrainingSettings, seed: int, round_index: int, group: Group
) -> tuple[RoundData, Metrics]:
    """The round with its terms' weights made of their gradients, where `data.combine` says so; else as it is.

    Once a round, on some of its samples at equal times and noise, the gradient g_k that the objective gives with the
    advantages of reward k alone, less that of no advantages; of these the directions `g_k / |g_k|`. With W the sum of
    the settings' weights:

    'minimum_norm' (MGDA; MARBLE): W w_k, w the point of minimum norm of the directions' simplex: no reward's gradient
    is against the sum. A reward without a gradient, as where all its values are equal, has no weight.

    'gradient_aligned' (as GA-AF): the first reward keeps its weight, the others share theirs as the point of their
    simplex that is nearest to the first's direction: those that agree with it count, others do not.

    The weights divided by |g_k| are what advantages are summed by, as 'normalised_sum' does.

    Args:
        policy: at the round's start; left as it was.
        data: on the policy's device.
        seed: the run's.
        round_index: of the round, counted over chained runs.
        group: the processes that train, each on its part of the samples.

    Returns:
        The round, and the weights before that division: 'training/reward_weight_<number>' from 1.
    """
    if len(data.terms) == 1 or data.combine not in ("gradient_aligned", "minimum_norm"):
        return data, {}
    gradients = _gradients(policy, data, settings, derive_seed(seed, "reward gradients", round_index), group)
    norms = gradients.norm(dim=1)
    directions = gradients / norms.clamp_min(torch.finfo(norms.dtype).tiny)[:, None]
    given = torch.tensor([term.weight for term in data.terms], dtype=torch.float64)
    if data.combine == "minimum_norm":
        some = directions[norms > 0]  # a reward that teaches nothing would be the point of minimum norm
        weights = torch.zeros_like(given)
        weights[norms > 0] = given.sum() * nearest_on_simplex(some @ some.T)
    else:
        first, others = directions[0], directions[1:]
        shares = nearest_on_simplex(others @ others.T, others @ first)
        weights = torch.cat([given[:1], given[1:].sum() * shares])
    found = (norms > 0) & (weights > 0)
    scaled = torch.where(found, weights / norms, 0.0)
    scaled = scaled / scaled.amax() if found.any() else given
    terms = tuple(replace(term, weight=weight) for term, weight in zip(data.terms, scaled.tolist(), strict=True))
    told = {f"training/reward_weight_{number}": weight for number, weight in enumerate(weights.tolist(), start=1)}
    return replace(data, terms=terms, combine="normalised_sum"), told


def _gradients(policy: Policy, data: RoundData, settings: TrainingSettings, seed: int, group: Group) -> Gradients:
    """Of each term alone, on the same samples, times and noise, float64 on the CPU."""
    count = len(data.latents)
    chosen = torch.randperm(count, generator=torch.Generator().manual_seed(seed))[: PROBED * settings.microbatch]
    none = torch.zeros(count, device=data.latents.device)
    base = _gradient(policy, data, settings, none, chosen, seed, group)
    alone = [_alone(term, settings).to(data.latents) for term in data.terms]
    return torch.stack([_gradient(policy, data, settings, one, chosen, seed, group) - base for one in alone])


def _alone(term: Term, settings: TrainingSettings) -> PerRollout:
    one = combined_advantages(
        [term], combine="sum", scale=settings.advantage_scale, clip=settings.advantage_clip,
        floor=settings.advantage_floor,
    )  # fmt: skip
    return one.values.flatten()


def _gradient(
    policy: Policy, data: RoundData, settings: TrainingSettings, advantages: PerRollout, samples: Samples, seed: int,
    group: Group,
) -> Tensor:  # fmt: skip
    """Of the objective's mean loss over samples, one after the other all parameters', float64 on the CPU."""
    objective, parameters = settings.objective, policy.adapters.parameters()
    batches_of = transition_batches if objective.needs.trajectories else velocity_batches
    generator = torch.Generator().manual_seed(seed)
    moved = not policy.is_rollout_policy()
    make_batch = batches_of(Step(policy, data, advantages, samples, settings, moved, {}, generator))
    totals: dict[str, Tensor] = {}
    for indices in group.indices(len(samples)).split(settings.microbatch):
        if len(indices):
            loss, totals = objective.loss(make_batch(indices))
            (len(indices) / len(samples) * loss).backward()
    group.add_up(parameters, totals)
    found = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([gradient.flatten() for gradient in found]).double().cpu()
    policy.optimiser.zero_grad()
    return flat
