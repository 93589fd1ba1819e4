"""Which held-out images an evaluation makes: equal prompts and noise every time, so that policies compare in pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest

from advantageflow.records import Prompt, derive_seed


@dataclass(frozen=True)
class Shot:
    """One image to make."""

    prompt: Prompt  # what it should show
    row: int  # the prompt's row among all prompts
    repetition: int  # which of the prompt's images, from 0
    seed: int  # of its initial noise; depends on the run's seed, the prompt and the repetition alone


def plan_images(prompts: Sequence[Prompt], count: int, seed: int) -> list[Shot]:
    """Deal `count` images evenly over the tasks of the held-out prompts; fewer images are the first of more.

    Each task cycles through its prompts (of split 'eval') in file order, so a mean of task means is not dominated by
    the noise of the task with the fewest prompts. Fewer images than tasks x prompts of the largest task leave some of
    its prompts out; reports say how many were judged.
    """
    by_task: dict[str, list[tuple[int, Prompt]]] = {}
    for row, prompt in enumerate(prompts):
        if prompt.split == "eval":
            by_task.setdefault(prompt.task, []).append((row, prompt))
    tasks = list(by_task.values())
    shots = []
    for number in range(count):
        held_out, turn = tasks[number % len(tasks)], number // len(tasks)
        row, prompt = held_out[turn % len(held_out)]
        repetition = turn // len(held_out)
        shots.append(Shot(prompt, row, repetition, derive_seed(seed, "evaluation", prompt.prompt_id, repetition)))
    return shots


def choose_samples(shots: Sequence[Shot], count: int) -> list[Shot]:
    """First images of `count` prompts to look at, dealt evenly over the tasks in file order."""
    by_task: dict[str, list[Shot]] = {}
    for shot in shots:
        if shot.repetition == 0:
            by_task.setdefault(shot.prompt.task, []).append(shot)
    dealt = (shot for turn in zip_longest(*by_task.values()) for shot in turn if shot is not None)
    return list(islice(dealt, count))
