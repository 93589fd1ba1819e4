"""What each process of the loop makes of a round, and what all of it is to train on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from advantageflow.flow.sde import Trajectory, concatenate
from advantageflow.records import Prompt, Rollout, Score
from advantageflow.rewards.base import Reward
from advantageflow.settings import RewardSettings
from advantageflow.store.conditioning import StoredConditioning
from advantageflow.training.data import RoundData, Sample, join_round


@dataclass(frozen=True)
class Share:
    """A process's rollouts of a round."""

    rollouts: list[Rollout]
    latents: Tensor  # clean latents (len(rollouts), *shape)
    trajectories: Trajectory | None  # how they were sampled, where that is kept
    scores: list[Score]  # of each
    pictures: Mapping[str, Mapping[str, float]]  # what the images look like, summed up


def join_shares(
    shares: Sequence[Share],
    known: Sequence[Prompt],
    stored: StoredConditioning,
    reward: RewardSettings,
    rewards: Mapping[str, Reward],
    levels: Sequence[float],
) -> RoundData:
    """The round's training data from the shares of all processes, as the training stage reads it from files."""
    rollouts = [one for share in shares for one in share.rollouts]
    latents = torch.cat([share.latents for share in shares])
    kept = [share.trajectories for share in shares if share.trajectories is not None]

    def in_order(samples: Sequence[Sample]) -> Trajectory:
        return concatenate(kept).rows(torch.tensor([sample.row for sample in samples]))

    return join_round(
        known, stored,
        {one.rollout_id: Sample(Path("loop"), row, one, latents[row]) for row, one in enumerate(rollouts)},
        {score.rollout_id: score.rewards for share in shares for score in share.scores},
        reward=reward,
        higher_is_better={name: one.higher_is_better for name, one in rewards.items()},
        trajectories=in_order if kept else None,
        levels=levels,
    )  # fmt: skip
