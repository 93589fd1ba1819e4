"""Adaptive selection: prompts that are expected to teach most go first, and no prompt and no task is starved.

A prompt whose group all scores the same has no advantages and teaches nothing. DAPO (arXiv 2503.14476, section 3.2)
generates until enough groups are mixed, and throws the others away; here what earlier rounds showed of a prompt decides
whether it is generated for at all, as in curricula by the variance p (1 - p) of outcomes (arXiv 2502.12272).

The places of a round go to tasks in the same shares as in the balanced selection. Of each task's places:

- every fifth (`BALANCED_EVERY`) goes to the prompt that has waited longest, whatever it is worth. So no prompt of a
  task with n prompts and s places a round waits longer than about 5 n / s rounds, and what is forgotten is noticed.
- the others go to the prompts with the highest upper confidence bound on their gain (`Outcome.gain`).

The bound is discounted UCB (Garivier and Moulines, arXiv 0805.3415), because the policy moves, with a prior, because
one group says little: an outcome that is a rounds old counts `w = DISCOUNT^a`; with m and s the mean and standard
deviation of all gains of the task, so weighted,

    bound = (PRIOR m + sum w gain) / (PRIOR + sum w)  +  s / sqrt(PRIOR + sum w)

A prompt that was never rolled out has no outcomes and the widest interval, m + s / sqrt(PRIOR): it goes before all that
are not clearly better than the average. Interval and prior come back as outcomes age, so that prompts are tried again.
PRIOR = 4 is (1 - c) / c at a correlation c = 0.2 between the gains of a prompt's groups in different rounds, which is
what the embedded model's have within a task (.06 to .26, 20 rounds of 96 prompts).

With `task_share` below 1 a task is only sure of that share of its places (and of the balanced ones). The others go to
the prompts with the highest bounds of all tasks, which takes them from tasks that have nothing more to teach: of the
embedded model's single objects every group scores the same after fifteen rounds.

Where there are no outcomes yet, in a first round or after a policy that has none, the round is the balanced one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from advantageflow.records import Prompt, derive_seed
from advantageflow.rollout.selection import alternate, prompts_by_task, select_prompts, task_shares
from advantageflow.store.artifacts import Outcome, Outcomes

BALANCED_EVERY = 5  # one place in so many goes to the prompt that has waited longest
DISCOUNT = 0.8  # weight of an outcome, a round later
PRIOR = 4.0  # the task's mean counts as much as so many fresh outcomes

Reason = Literal["adaptive", "unseen", "balanced"]


@dataclass(frozen=True)
class Selection:
    """The prompts of a round and why they were chosen.

    Attributes:
        prompts: distinct, with tasks alternating so that chunks are alike.
        places: how many were chosen for what they showed ('adaptive'), as promising because they were never rolled out
            ('unseen'), and because it was their turn ('balanced').
    """

    prompts: list[Prompt]
    places: dict[Reason, int]


@dataclass(frozen=True)
class _Candidate:
    prompt: Prompt
    bound: float
    last: int  # the round that it was last trained in; 0 if never
    lot: int  # decides among equals

    @property
    def reason(self) -> Reason:
        """Why it is chosen where it is chosen for its bound."""
        return "adaptive" if self.last else "unseen"


def select_adaptively(
    seed: int,
    round_index: int,
    prompts: Sequence[Prompt],
    count: int,
    outcomes: Outcomes,
    task_share: float = 1.0,
) -> Selection:
    """The prompts of a round; a pure function, so that shards and retries agree.

    Args:
        seed: the run's seed; decides among equals.
        round_index: the round, from 1.
        prompts: training prompts; their order does not matter.
        count: how many the round takes.
        outcomes: what earlier rounds showed; outcomes of other prompts are ignored.
        task_share: how much of its equal share a task keeps whatever its prompts are worth, in [0, 1].

    Raises:
        DataError: there are fewer prompts than `count`.
    """
    tasks = prompts_by_task(prompts, count)
    if not any(prompt_id in outcomes.prompts for members in tasks.values() for prompt_id in members):
        return _selection({"": [(prompt, "balanced") for prompt in select_prompts(seed, round_index, prompts, count)]})
    turns = _turns({task: len(members) for task, members in tasks.items()}, count, round_index)
    chosen: dict[str, list[tuple[Prompt, Reason]]] = {}
    left: list[_Candidate] = []
    for task, (share, balanced) in turns.items():
        waiting = _candidates(seed, tasks[task], outcomes)
        kept = max(0, math.floor(task_share * share) - balanced)
        others = _by_bound(waiting[balanced:])
        chosen[task] = [(one.prompt, "balanced") for one in waiting[:balanced]]
        chosen[task] += [(one.prompt, one.reason) for one in others[:kept]]
        left += others[kept:]
    for one in _by_bound(left)[: count - sum(map(len, chosen.values()))]:
        chosen[one.prompt.task].append((one.prompt, one.reason))
    return _selection(chosen)


def _turns(sizes: Mapping[str, int], count: int, round_index: int) -> dict[str, tuple[int, int]]:
    """Each task's equal share of the round's places, and how many of these are balanced ones.

    Those are the first, the sixth, and so on, of all its places in all rounds.
    """
    before = dict.fromkeys(sizes, 0)
    for past in range(1, round_index):
        before = {task: before[task] + share for task, share in task_shares(sizes, count, past).items()}

    def balanced(places: int) -> int:
        return -(-places // BALANCED_EVERY)

    shares = task_shares(sizes, count, round_index)
    return {
        task: (share, balanced(before[task] + share) - balanced(before[task])) for task, share in sorted(shares.items())
    }


def _candidates(seed: int, members: Mapping[str, Prompt], outcomes: Outcomes) -> list[_Candidate]:
    """The prompts of one task, those that have waited longest first."""
    history = {prompt_id: outcomes.prompts.get(prompt_id, ()) for prompt_id in sorted(members)}
    bounds = upper_bounds(history, outcomes.rounds)
    candidates = [
        _Candidate(
            members[prompt_id],
            bounds[prompt_id],
            last=past[-1].round if past else 0,
            lot=derive_seed(seed, "adaptive selection", prompt_id),
        )
        for prompt_id, past in history.items()
    ]
    return sorted(candidates, key=lambda one: (one.last, one.lot))


def _by_bound(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """The most promising first. Ties are common: prompts never seen, and tasks whose groups all score the same."""
    return sorted(candidates, key=lambda one: (-one.bound, one.last, one.lot))


def _selection(chosen: Mapping[str, Sequence[tuple[Prompt, Reason]]]) -> Selection:
    by_id = {prompt.prompt_id: prompt for of_task in chosen.values() for prompt, _ in of_task}
    order = alternate({task: [prompt.prompt_id for prompt, _ in of_task] for task, of_task in chosen.items()})
    reasons = [reason for of_task in chosen.values() for _, reason in of_task]
    names: tuple[Reason, ...] = ("adaptive", "unseen", "balanced")
    return Selection([by_id[prompt_id] for _, prompt_id in order], {name: reasons.count(name) for name in names})


def upper_bounds(history: Mapping[str, Sequence[Outcome]], rounds: int) -> dict[str, float]:
    """Upper confidence bound on the gain of each prompt of a task; infinite where none of the task has an outcome.

    Args:
        history: outcomes by prompt.
        rounds: rounds so far: an outcome of this round has age 0.
    """
    weighted = {
        prompt_id: [(DISCOUNT ** (rounds - outcome.round), outcome.gain) for outcome in past]
        for prompt_id, past in history.items()
    }
    everything = list(chain.from_iterable(weighted.values()))
    total = math.fsum(weight for weight, _ in everything)
    if total == 0:
        return dict.fromkeys(history, math.inf)
    mean = math.fsum(weight * gain for weight, gain in everything) / total
    spread = math.sqrt(math.fsum(weight * (gain - mean) ** 2 for weight, gain in everything) / total)

    def bound(past: Sequence[tuple[float, float]]) -> float:
        known = PRIOR + math.fsum(weight for weight, _ in past)
        return (PRIOR * mean + math.fsum(weight * gain for weight, gain in past)) / known + spread / math.sqrt(known)

    return {prompt_id: bound(past) for prompt_id, past in weighted.items()}
