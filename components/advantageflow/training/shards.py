"""A round's training data from the artifacts of its shards: latents, trajectories and scores, joined and checked."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from advantageflow.errors import DataError
from advantageflow.flow.sde import Trajectory, concatenate
from advantageflow.policy.divergence import check_finite
from advantageflow.records import TRAJECTORIES_FILE
from advantageflow.settings import RewardSettings
from advantageflow.store.conditioning import open_conditioning
from advantageflow.store.files import read_metadata
from advantageflow.store.prompts import read_prompts
from advantageflow.store.rollouts import (
    DROPPED_KEY,
    LEVELS_KEY,
    read_index,
    read_latents,
    read_scores,
    read_trajectories,
)
from advantageflow.training.data import AGAIN, RoundData, Sample, join_round

_MADE_AGAIN = "make the rollouts of all shards again, with the same settings"


def load_round(
    prompts: Path,
    conditioning: Path,
    latents: Sequence[Path],
    scores: Sequence[Path],
    *,
    reward: RewardSettings,
    round_index: int,
    policy_sha256: str | None,
    trajectories: bool = False,
) -> RoundData:
    """Join the shards of a round, in the order of prompts and indices: the number of shards leaves no trace.

    Args:
        latents: the latents artifact of each shard, in any order.
        scores: the scores of each shard, in any order.
        reward: what to maximise (or to lower, where the scores say that lower is better).
        round_index: the round that the rollouts must belong to.
        policy_sha256: the policy that they must come from.
        trajectories: whether to read the trajectories too, which then must be there.

    Raises:
        DataError: a shard that is missing; a rollout of another round or policy, without a score, twice, missing from
            its group, of an unknown prompt, or not finite; or trajectories that are missing or do not fit; names it.
    """
    samples = _read_samples(latents, round_index, policy_sha256)
    values = _read_values(scores, samples)
    if not samples:
        raise DataError("there are no rollouts", where=", ".join(map(str, latents)), remedy=AGAIN)
    known = read_prompts(prompts)
    return join_round(
        known, open_conditioning(conditioning, known), samples, values, reward=reward, where=str(scores[0]),
        higher_is_better={term.name: _higher_is_better(term.name, scores) for term in reward.terms},
        trajectories=_join_trajectories if trajectories else None, levels=read_metadata(latents[0]).get(LEVELS_KEY),
    )  # fmt: skip


def _read_samples(shards: Sequence[Path], round_index: int, policy_sha256: str | None) -> dict[str, Sample]:
    """Latent and origin by rollout id."""
    samples: dict[str, Sample] = {}
    given = [read_metadata(shard) for shard in shards]
    lost = set(range(max((one.get("shards", 0) for one in given), default=0))) - {one.get("shard") for one in given}
    if lost:
        message = f"missing: shard {min(lost)} of the round's {given[0].get('shards')}"
        raise DataError(message, where=", ".join(map(str, shards)), remedy=AGAIN)
    for shard, metadata in zip(shards, given, strict=True):
        made_by = metadata.get("policy_sha256")
        if made_by != policy_sha256:
            message = f"these rollouts come from policy {made_by}, the policy to train is {policy_sha256}"
            raise DataError(message, where=str(shard), remedy="give the policy that generated the rollouts")
        records = read_index(shard)
        tensors = read_latents(shard, rows=len(records))
        for row, (record, latent) in enumerate(zip(records, tensors, strict=True)):
            name, sample = record.rollout_id, Sample(shard, row, record, latent)
            if record.round != round_index:
                raise DataError(f"belongs to round {record.round}, not {round_index}", where=sample.place, remedy=AGAIN)
            if name in samples:
                raise DataError(f"is a duplicate, also in {samples[name].place}", where=sample.place, remedy=AGAIN)
            samples[name] = sample
        check_finite(tensors, [samples[record.rollout_id].place for record in records], error=DataError)
    return samples


def _read_values(shards: Sequence[Path], samples: Mapping[str, Sample]) -> dict[str, dict[str, float]]:
    """Value by column, by rollout id; of rollouts that the shards say were left out, none."""
    values: dict[str, dict[str, float]] = {}
    dropped: set[str] = set()
    for shard in shards:
        dropped.update(read_metadata(shard).get(DROPPED_KEY, ()))
        for score in read_scores(shard):
            name, place = score.rollout_id, f"{shard}: score of rollout {score.rollout_id}"
            if name in values:
                raise DataError("duplicate: the rollout has two scores", where=place, remedy=AGAIN)
            if name not in samples:
                raise DataError("there is no such rollout", where=place, remedy=AGAIN)
            if not torch.tensor(list(score.rewards.values())).isfinite().all():
                raise DataError(f"is not finite: {score.rewards}", where=place, remedy="score that shard again")
            values[name] = score.rewards
    for name, sample in samples.items():
        if name not in values and name not in dropped:
            raise DataError("has no score", where=sample.place, remedy=AGAIN)
    return values


def _higher_is_better(reward: str, scores: Sequence[Path]) -> bool:
    """The direction of a reward."""
    told = [metadata.get("rewards", {}).get(reward, {}) for metadata in map(read_metadata, scores)]
    directions = {bool(described.get("higher_is_better", True)) for described in told}
    if len(directions) > 1:
        message = f"some say that a higher '{reward}' is better, some a lower"
        remedy = "score all shards with one version of the reward"
        raise DataError(message, where=", ".join(map(str, scores)), remedy=remedy)
    return directions.pop()


def _join_trajectories(samples: Sequence[Sample]) -> Trajectory:
    """The trajectories of a round's rollouts, in their order, which must end in their clean latents."""
    sizes = Counter(sample.shard for sample in samples)
    parts = {shard: read_trajectories(shard, rows=size) for shard, size in sizes.items()}
    (first_shard, first), *others = parts.items()
    for shard, part in others:
        told = (part.noise_level, part.sampler)
        if not torch.equal(part.sigmas, first.sigmas) or told != (first.noise_level, first.sampler):
            message = f"its noise levels are not those of {first_shard}"
            raise DataError(message, where=str(shard / TRAJECTORIES_FILE), remedy=_MADE_AGAIN)
    starts, start = {}, 0
    for shard, size in sizes.items():
        starts[shard], start = start, start + size
    order = torch.tensor([starts[sample.shard] + sample.row for sample in samples])
    joined = concatenate(list(parts.values())).rows(order)
    names = [f"{one.shard / TRAJECTORIES_FILE}: rollout {one.rollout.rollout_id}" for one in samples]
    check_finite(joined.states, names, "trajectory", DataError)
    check_finite(joined.log_probabilities, names, "log-probability", DataError)
    for name, sample, end in zip(names, samples, joined.states[:, -1], strict=True):
        if joined.sigmas[-1] == 0 and not (end == sample.latent).all():
            raise DataError("its trajectory does not end in its latent", where=name, remedy=_MADE_AGAIN)
    return joined
