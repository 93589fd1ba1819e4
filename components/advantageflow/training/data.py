"""A round's training data: latents, what conditions the model, and rewards, in the order of prompts and indices."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import NamedTuple, Self

import torch
from jaxtyping import Float
from torch import Tensor

from advantageflow.errors import DataError
from advantageflow.flow.advantages import Combination, Grouped, Term
from advantageflow.flow.path import Levels
from advantageflow.flow.sde import Trajectory
from advantageflow.policy.conditioning import Conditioning
from advantageflow.records import Prompt, Rollout
from advantageflow.rewards.plumbing.terms import score_column
from advantageflow.settings import RewardSettings
from advantageflow.store.conditioning import StoredConditioning

Latents = Float[Tensor, "rollouts channels *space"]

AGAIN = "give the rollouts and scores of all shards of this round, each once; run a shard's task again if it is broken"


@dataclass(frozen=True)
class RoundData:
    """The scored rollouts of a round, group after group: rollout i belongs to group i // group_size."""

    latents: Latents  # clean latents x_0, float32
    conditioning: Conditioning  # of each group's prompt
    terms: tuple[Term, ...]  # what training maximises, one or several, float64
    columns: Mapping[str, Grouped]  # every column of the scores, as the reward gave it
    prompt_ids: tuple[str, ...] = ()  # of each group; empty for data that no artifact stands behind
    combine: Combination = "normalised_sum"  # how terms become one advantage
    trajectories: Trajectory | None = None  # how each rollout was sampled, for an objective that learns from it
    # noise levels at which the sampler evaluated the model, from 1 down; None where the data does not tell
    levels: Levels | None = None

    @property
    def group_size(self) -> int:
        return self.terms[0].rewards.shape[1]

    def to(self, device: torch.device) -> Self:
        """The data with what the model reads on `device`."""
        return replace(
            self,
            latents=self.latents.to(device),
            conditioning=self.conditioning.to(device),
            trajectories=self.trajectories.to(device) if self.trajectories is not None else None,
        )


class Sample(NamedTuple):
    """A rollout, and where it is stored."""

    shard: Path  # folder of its shard's latents artifact
    row: int  # its index in the shard's files
    rollout: Rollout  # which it is
    latent: Tensor  # its clean latent

    @property
    def place(self) -> str:
        return f"{self.shard}: rollout {self.rollout.rollout_id}"


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
    Raises DataError: a rollout is missing from its group, or of an unknown prompt; or a column is missing; names it.

    Args:
        known: all prompts.
        samples: by rollout id.
        values: of the scores, by column, by rollout id; none of a rollout that has no score.
        higher_is_better: by reward; else it is lowered.
        trajectories: gives those of samples, in their order; None where none are kept.
        levels: noise levels at which the sampler evaluated the model; None where that is not known.
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
        terms=_terms(reward, higher_is_better, columns, where),
        columns=columns,
        prompt_ids=tuple(known[row].prompt_id for row in groups),
        combine=reward.combine,
        trajectories=trajectories(in_order) if trajectories is not None else None,
        levels=None if levels is None else torch.tensor(levels, dtype=torch.float64),
    )


def _terms(
    reward: RewardSettings, higher_is_better: Mapping[str, bool], columns: Mapping[str, Grouped], where: str
) -> tuple[Term, ...]:
    """What training maximises, in the settings' order: each column turned so that higher is better."""
    terms = []
    for number, term in enumerate(reward.terms):
        column = score_column(reward, term.name, term.column)
        if column not in columns:
            message = f"the scores have no column '{column}' (found: {', '.join(columns)})"
            setting = f"reward.others.{number - 1}.column" if number else "reward.column"
            remedy = f"set {setting} to one of them, or score all shards by these settings"
            raise DataError(message, where=where, remedy=remedy)
        sign = 1 if higher_is_better[term.name] else -1
        minimum = None if term.minimum is None else sign * term.minimum
        terms.append(Term(sign * columns[column], term.weight, minimum))
    return tuple(terms)


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
            raise DataError("its prompt is not in the prompts artifact", where=sample.place, remedy=AGAIN)
        names.setdefault(rollout.prompt_id, {})[rollout.index] = name
    size = 1 + max(max(group) for group in names.values())
    for group in names.values():
        missing = set(range(size)) - group.keys()
        if missing:
            known = samples[next(iter(group.values()))].rollout
            name = replace(known, index=min(missing)).rollout_id
            raise DataError(f"is missing from its group of {size}", where=f"rollout {name}", remedy=AGAIN)
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
