"""A round's training data: latents, what conditions the model, and rewards, joined from all shards and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import torch
from jaxtyping import Float
from torch import Tensor

from advantageflow.errors import DataError
from advantageflow.flow.advantages import Combination, Term
from advantageflow.flow.path import Levels
from advantageflow.flow.sde import Trajectory
from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.divergence import check_finite
from advantageflow.records import Prompt
from advantageflow.settings import RewardSettings
from advantageflow.store.conditioning import StoredConditioning, open_conditioning
from advantageflow.store.files import read_metadata
from advantageflow.store.prompts import read_prompts
from advantageflow.store.rollouts import LEVELS_KEY, read_index, read_latents
from advantageflow.store.scores import DROPPED_KEY, read_scores
from advantageflow.training.terms import make_terms, read_directions
from advantageflow.training.trajectories import Sample, join_trajectories

Latents = Float[Tensor, "rollouts channels *space"]
Grouped = Float[Tensor, "groups group_size"]

_AGAIN = "give the rollouts and scores of all shards of this round, each once; run a shard's task again if it is broken"


@dataclass(frozen=True)
class RoundData:
    """The scored rollouts of a round, group after group: rollout i belongs to group i // group_size.

    Attributes:
        latents: clean latents x_0, float32.
        conditioning: of each group's prompt.
        terms: what training maximises, one or several, float64.
        columns: every column of the scores, as the reward gave it.
        prompt_ids: of each group; empty for data that no artifact stands behind.
        combine: how terms become one advantage.
        trajectories: how each rollout was sampled, for an objective that learns from it.
        levels: noise levels at which the sampler evaluated the model, from 1 down; None where the data does not tell.
    """

    latents: Latents
    conditioning: Conditioning
    terms: tuple[Term, ...]
    columns: Mapping[str, Grouped]
    prompt_ids: tuple[str, ...] = ()
    combine: Combination = "normalised_sum"
    trajectories: Trajectory | None = None
    levels: Levels | None = None

    @property
    def group_size(self) -> int:
        return self.terms[0].rewards.shape[1]

    def to(self, device: torch.device) -> RoundData:
        """The data with what the model reads on `device`."""
        return replace(
            self,
            latents=self.latents.to(device),
            conditioning=self.conditioning.to(device),
            trajectories=self.trajectories.to(device) if self.trajectories is not None else None,
        )


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
        prompts: the prompts artifact.
        conditioning: of these prompts.
        latents: the latents artifact of each shard, in any order.
        scores: the scores of each shard, in any order.
        reward: what to maximise (or to lower, where the scores say that lower is better).
        round_index: the round that the rollouts must belong to.
        policy_sha256: the policy that they must come from.
        trajectories: whether to read the trajectories too, which then must be there.

    Raises:
        StoreError: a file is missing or corrupt.
        DataError: a rollout of another round or policy, without a score, twice, missing from its group, of an
            unknown prompt, or not finite; or trajectories that are missing or do not fit; names it.
    """
    samples = _read_samples(latents, round_index, policy_sha256)
    values = _read_values(scores, samples)
    if not samples:
        raise DataError("there are no rollouts", where=", ".join(map(str, latents)), remedy=_AGAIN)
    known = read_prompts(prompts)
    return join_round(
        known, open_conditioning(conditioning, known), samples, values,
        reward=reward, higher_is_better=read_directions(reward, scores), where=str(scores[0]),
        trajectories=join_trajectories if trajectories else None, levels=read_metadata(latents[0]).get(LEVELS_KEY),
    )  # fmt: skip


def join_round(
    known: Sequence[Prompt],
    stored: StoredConditioning,
    samples: Mapping[str, Sample],
    values: Mapping[str, Mapping[str, float]],
    *,
    reward: RewardSettings,
    higher_is_better: Mapping[str, bool],
    where: str = "scores",
    trajectories: Callable[[Sequence[Sample]], Trajectory] | None = None,
    levels: Sequence[float] | None = None,
) -> RoundData:
    """The rollouts of a round and their scores, in the order of prompts and indices, whatever order they come in.

    Args:
        known: all prompts.
        stored: their conditioning.
        samples: by rollout id.
        values: of the scores, by column, by rollout id; none of a rollout that has no score.
        reward: what to maximise or to lower.
        higher_is_better: by reward, which of the two.
        where: the scores are.
        trajectories: gives those of samples, in their order; None where none are kept.
        levels: noise levels at which the sampler evaluated the model; None where that is not known.

    Raises:
        DataError: a rollout is missing from its group, or of an unknown prompt; or a column is missing; names it.
    """
    values = dict(values)
    groups = _group(samples, {prompt.prompt_id: row for row, prompt in enumerate(known)})
    _fill_dropped(values, groups.values())
    ordered = [name for group in groups.values() for name in group]
    in_order = [samples[name] for name in ordered]
    columns = {
        name: torch.tensor([values[rollout][name] for rollout in ordered], dtype=torch.float64).reshape(len(groups), -1)
        for name in _common_columns(values)
    }
    return RoundData(
        latents=torch.stack([sample.latent for sample in in_order]).float(),
        conditioning=stored.rows(list(groups)),
        terms=make_terms(reward, higher_is_better, columns, where),
        columns=columns,
        prompt_ids=tuple(known[row].prompt_id for row in groups),
        combine=reward.combine,
        trajectories=trajectories(in_order) if trajectories is not None else None,
        levels=None if levels is None else torch.tensor(levels, dtype=torch.float64),
    )


def _read_samples(shards: Sequence[Path], round_index: int, policy_sha256: str | None) -> dict[str, Sample]:
    """Latent and origin by rollout id."""
    samples: dict[str, Sample] = {}
    for shard in shards:
        made_by = read_metadata(shard).get("policy_sha256")
        if made_by != policy_sha256:
            message = f"these rollouts come from policy {made_by}, the policy to train is {policy_sha256}"
            raise DataError(message, where=str(shard), remedy="give the policy that generated the rollouts")
        records = read_index(shard)
        tensors = read_latents(shard, rows=len(records))
        for row, (record, latent) in enumerate(zip(records, tensors, strict=True)):
            name, sample = record.rollout_id, Sample(shard, row, record, latent)
            if record.round != round_index:
                raise DataError(
                    f"belongs to round {record.round}, not {round_index}", where=sample.place, remedy=_AGAIN
                )
            if name in samples:
                raise DataError(f"is a duplicate, also in {samples[name].place}", where=sample.place, remedy=_AGAIN)
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
                raise DataError("duplicate: the rollout has two scores", where=place, remedy=_AGAIN)
            if name not in samples:
                raise DataError("there is no such rollout", where=place, remedy=_AGAIN)
            if not torch.tensor(list(score.rewards.values())).isfinite().all():
                raise DataError(f"is not finite: {score.rewards}", where=place, remedy="score that shard again")
            values[name] = score.rewards
    for name, sample in samples.items():
        if name not in values and name not in dropped:
            raise DataError("has no score", where=sample.place, remedy=_AGAIN)
    return values


def _fill_dropped(values: dict[str, Mapping[str, float]], groups: Iterable[Sequence[str]]) -> None:
    """Give each rollout without a score its group's mean, so that its advantage is 0; without any in its group, all
    have the round's mean.
    """
    scored = list(values.values())
    for group in groups:
        missing = [name for name in group if name not in values]
        if missing:
            of_group = [values[name] for name in group if name in values] or scored
            means = {column: fmean(one[column] for one in of_group) for column in of_group[0]}
            values.update(dict.fromkeys(missing, means))


def _group(samples: Mapping[str, Sample], rows: Mapping[str, int]) -> dict[int, list[str]]:
    """Rollout ids by row of their prompt, both in order; every group complete and of one size."""
    names: dict[str, dict[int, str]] = {}
    for name, sample in samples.items():
        rollout = sample.rollout
        if rollout.prompt_id not in rows:
            raise DataError("its prompt is not in the prompts artifact", where=sample.place, remedy=_AGAIN)
        names.setdefault(rollout.prompt_id, {})[rollout.index] = name
    size = 1 + max(max(group) for group in names.values())
    for group in names.values():
        missing = set(range(size)) - group.keys()
        if missing:
            known = samples[next(iter(group.values()))].rollout
            name = replace(known, index=min(missing)).rollout_id
            raise DataError(f"is missing from its group of {size}", where=f"rollout {name}", remedy=_AGAIN)
    return {
        rows[prompt_id]: [names[prompt_id][index] for index in range(size)]
        for prompt_id in sorted(names, key=rows.__getitem__)
    }


def _common_columns(values: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The columns, which all scores must share."""
    first = next(iter(values.values()))
    for name, by_column in values.items():
        if by_column.keys() != first.keys():
            message = f"has columns {sorted(by_column)}, others have {sorted(first)}"
            raise DataError(message, where=f"score of rollout {name}", remedy="score all shards with one reward")
    return list(first)
