"""Adaptive selection: prompts that are expected to teach most go first, and no prompt and no task is starved.

A prompt whose group all scores the same has no advantages and teaches nothing. DAPO (arXiv 2503.14476, section 3.2)
generates until enough groups are mixed, and throws the others away; here what earlier rounds showed of a prompt decides
whether it is generated for at all, as in curricula by the variance p (1 - p) of outcomes (arXiv 2502.12272).

Every task has an equal number of a round's groups, as in the balanced selection; it keeps a part of them:

- Every fifth group of a task (`BALANCED_EVERY`) goes to the prompt that has waited longest, whatever it is worth. So no
  prompt of a task with n prompts and s groups a round waits longer than about 5 n / s rounds, and what is forgotten is
  noticed.
- The fraction `task_share` is the task's own too, for its prompts with the highest upper confidence bound on their gain
  (`GroupOutcome.gain`).
- What tasks do not keep is dealt to them in proportion to their mean gains m, which takes it from tasks that have
  nothing more to teach; within a task it goes by the same bound.

The bound is discounted UCB (Garivier and Moulines, arXiv 0805.3415), because the policy moves, with a prior, because
one group says little: an outcome that is a rounds old counts `w = DISCOUNT^a`; with m and s the mean and standard
deviation of all gains of the task, so weighted,

    bound = (PRIOR m + sum w gain) / (PRIOR + sum w)  +  s / sqrt(PRIOR + sum w)

A prompt that was never rolled out has no outcomes and the widest interval, m + s / sqrt(PRIOR): it goes before all that
are not clearly better than the average. Interval and prior come back as outcomes age, so that every prompt comes again.
PRIOR = 4 is (1 - c) / c at a correlation c = 0.2 between the gains of a prompt's groups in different rounds.

The selection saves images where whole tasks, or prompts that come back, have nothing to teach, and hardly any where all
do (docs/results, "Prompts that teach").

Where there are no outcomes yet, in a first round or after a policy that has none, the round is the balanced one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from advantageflow.records import Prompt, derive_seed
from advantageflow.rollout.selection import alternate, prompts_by_task, select_prompts, task_counts
from advantageflow.store.prompt_history import GroupOutcome, PromptHistory

BALANCED_EVERY = 5  # one group in so many goes to the prompt that has waited longest
DISCOUNT = 0.8  # weight of an outcome, a round later
PRIOR = 4.0  # the task's mean counts as much as so many fresh outcomes

Reason = Literal["adaptive", "unseen", "balanced"]
History = Mapping[str, Sequence[GroupOutcome]]
"""PromptHistory of the prompts of a task by prompt_id, oldest first; of every prompt, also of those that have none."""


@dataclass(frozen=True)
class Selection:
    """The prompts of a round and why they were chosen."""

    prompts: list[Prompt]  # distinct, with tasks alternating so that chunks are alike
    # how many were chosen for what they showed ('adaptive'), as promising because they were never rolled out
    # ('unseen'), and because it was their turn ('balanced')
    counts: dict[Reason, int]


def select_adaptively(
    seed: int, round_index: int, prompts: Sequence[Prompt], count: int, outcomes: PromptHistory, task_share: float
) -> Selection:
    """The prompts of a round; a pure function, so that shards and retries agree.
    Raises DataError: there are fewer prompts than `count`.

    Args:
        seed: the run's; decides among equals.
        round_index: the round, from 1.
        prompts: training prompts; their order does not matter.
        outcomes: what earlier rounds showed; outcomes of other prompts are ignored.
        task_share: what fraction of an even split a task keeps whatever its prompts are worth, in [0, 1].
    """
    tasks = prompts_by_task(prompts, count)
    history = {
        task: {prompt_id: outcomes.prompts.get(prompt_id, ()) for prompt_id in sorted(members)}
        for task, members in sorted(tasks.items())
    }
    by_id = {prompt.prompt_id: prompt for prompt in prompts}
    if not any(past for of_task in history.values() for past in of_task.values()):
        chosen = select_prompts(seed, round_index, prompts, count)
        return _selection(by_id, {"all": dict.fromkeys([prompt.prompt_id for prompt in chosen], "balanced")})
    turns = _turns({task: len(members) for task, members in history.items()}, count, round_index)
    counts = _counts(turns, history, outcomes.rounds, task_share)
    return _selection(
        by_id,
        {
            task: _choose(seed, members, outcomes.rounds, counts[task], turns[task].balanced)
            for task, members in history.items()
        },
    )


class _Turns(NamedTuple):
    equal: int  # how many of the round's prompts an even split gives a task
    balanced: int  # how many of these go to prompts whose turn it is


def _turns(sizes: Mapping[str, int], count: int, round_index: int) -> dict[str, _Turns]:
    """The first, the sixth, and so on, of all prompts that even splits give a task in all rounds are balanced."""
    before = dict.fromkeys(sizes, 0)
    for past in range(1, round_index):
        before = {task: before[task] + equal for task, equal in task_counts(sizes, count, past).items()}

    def balanced(prompts: int) -> int:
        return -(-prompts // BALANCED_EVERY)

    now = task_counts(sizes, count, round_index)
    return {task: _Turns(equal, balanced(before[task] + equal) - balanced(before[task])) for task, equal in now.items()}


def _counts(
    turns: Mapping[str, _Turns], history: Mapping[str, History], rounds: int, task_share: float
) -> dict[str, int]:
    """How many prompts each task gets: what it is sure of, and its part of the others, in proportion to mean gains.

    The others are dealt one by one, each to the task with the highest gain for each that it already got (D'Hondt).
    """
    counts = {task: max(turn.balanced, math.floor(task_share * turn.equal + 1e-9)) for task, turn in turns.items()}
    known = {task: gain for task in turns if (gain := mean_gain(history[task], rounds)) is not None}
    usual = sum(known.values()) / max(1, len(known))
    weight = {task: max(0.0, known.get(task, usual)) for task in turns}
    dealt = dict.fromkeys(turns, 0)
    for _ in range(sum(turn.equal for turn in turns.values()) - sum(counts.values())):
        unfilled = [task for task in turns if counts[task] + dealt[task] < len(history[task])]
        dealt[max(unfilled, key=lambda task: (weight[task] / (dealt[task] + 1), -dealt[task]))] += 1
    return {task: counts[task] + dealt[task] for task in turns}


def _choose(seed: int, history: History, rounds: int, count: int, balanced: int) -> dict[str, Reason]:
    """The prompts of one task and why: `balanced` of those that waited longest, then the most promising others."""
    bounds = upper_bounds(history, rounds)
    # Ties are common: prompts never seen, and tasks whose groups all score the same.
    lot = {one: derive_seed(seed, "adaptive selection", one) for one in history}
    last = {one: past[-1].round if past else 0 for one, past in history.items()}
    waiting = sorted(history, key=lambda one: (last[one], lot[one]))
    chosen: dict[str, Reason] = dict.fromkeys(waiting[:balanced], "balanced")
    others = sorted(waiting[balanced:], key=lambda one: -bounds[one])  # equals stay in the order of waiting
    return chosen | {one: "adaptive" if history[one] else "unseen" for one in others[: count - balanced]}


def upper_bounds(history: History, rounds: int) -> dict[str, float]:
    """Upper confidence bound on the gain of each prompt of a task after so many rounds; 0 for all without outcomes."""
    mean = mean_gain(history, rounds)
    if mean is None:
        return dict.fromkeys(history, 0.0)
    total = math.fsum(_weight(one, rounds) for past in history.values() for one in past)
    variance = math.fsum(_weight(one, rounds) * (one.gain - mean) ** 2 for past in history.values() for one in past)
    spread = math.sqrt(variance / total)

    def bound(past: Sequence[GroupOutcome]) -> float:
        known = PRIOR + math.fsum(_weight(one, rounds) for one in past)
        gains = PRIOR * mean + math.fsum(_weight(one, rounds) * one.gain for one in past)
        return gains / known + spread / math.sqrt(known)

    return {prompt_id: bound(past) for prompt_id, past in history.items()}


def mean_gain(history: History, rounds: int) -> float | None:
    """Mean of all gains of a task, recent ones weighing more, as in `upper_bounds`; None where there are none."""
    outcomes = [one for past in history.values() for one in past]
    total = math.fsum(_weight(one, rounds) for one in outcomes)
    return math.fsum(_weight(one, rounds) * one.gain for one in outcomes) / total if total > 0 else None


def _weight(outcome: GroupOutcome, rounds: int) -> float:
    return DISCOUNT ** (rounds - outcome.round)


def _selection(by_id: Mapping[str, Prompt], chosen: Mapping[str, Mapping[str, Reason]]) -> Selection:
    order = alternate({task: list(of_task) for task, of_task in chosen.items()})
    reasons = [reason for of_task in chosen.values() for reason in of_task.values()]
    names: tuple[Reason, ...] = ("adaptive", "unseen", "balanced")
    return Selection([by_id[prompt_id] for _, prompt_id in order], {name: reasons.count(name) for name in names})
