"""The weeks of a simulated year: prompts that drift, a reward that breaks, a crash, a week without news."""

import json
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from advantageflow.golden_checks.check import readable, score_pictures
from advantageflow.golden_checks.pictures import golden_pictures
from advantageflow.golden_checks.recorded import record
from advantageflow.records import Prompt
from advantageflow.rewards.base import Result
from advantageflow.rewards.shapes import ShapesReward
from advantageflow.settings import RunSettings
from advantageflow.shapes.prompts import all_prompts

NAME = "year"
FIRST = 48  # training prompts of the first week
NEW = 8  # of every other one
SETTINGS = {
    "preset": NAME,
    "pipeline": "retraining",
    "rounds": 3,
    "prompts": {"eval_prompts": 80, "replay_share": 0.5},
    "rollout": {"prompts_per_round": 12, "group_size": 8},
    "reward": {
        "name": "advantageflow_experiments.year.weeks:Judge",
        "watched": [{"name": "shapes", "column": "strict"}],
    },
    "training": {
        "gradient_steps": 8,
        "inner_epochs": 2,
        "learning_rate": 3e-3,
        "decay_rounds": "all",
        "objective": {"name": "advantage_flow", "lam": "auto", "space": "velocity", "reference_weight": 0.0},
        "advantage_scale": "group",
        "advantage_clip": 2.0,
        "rollout_decay": 0.0,
        "threads": 1,
    },
    "evaluation": {"every": 3, "images": 120, "batch": 60, "sample_prompts": 1, "threads": 1},
    "promotion": {"task_drop": 0.1},  # of 20 images a task and seed no smaller fall can be told
}


BROKEN_ENV = "ADVANTAGEFLOW_JUDGE_BROKEN"  # a reward of one's own lives in a process of its own, which inherits it


class Judge(ShapesReward):
    """As `shapes`; while it is broken, wrong pictures are right and right ones wrong."""

    name = "judge"

    def score(self, prompts: Sequence[Prompt], images: Sequence[np.ndarray]) -> list[Result]:
        results = super().score(prompts, images)
        if BROKEN_ENV not in os.environ:
            return results
        return [({name: 1.0 - value for name, value in values.items()}, told) for values, told in results]


@dataclass(frozen=True)
class Week:
    """A week."""

    number: int  # from 1
    broken: str = ""  # whether the reward breaks: 'before' its check on golden pictures, 'after' it, or not at all ('')
    crashes: bool = False  # whether the run is killed amid its training, and started again
    news: bool = True  # whether there are new prompts


def weeks(count: int) -> list[Week]:
    """The weeks of a year; of a shorter one the first."""
    special = {
        5: Week(5, broken="before"), 6: Week(6, broken="after"), 9: Week(9, crashes=True), 12: Week(12, news=False),
    }  # fmt: skip
    return [special.get(number, Week(number)) for number in range(1, count + 1)]


def settings_in(folder: Path) -> RunSettings:
    """Those of every run of the year, whose prompts alone change; records what the reward gives while it is whole."""
    values = json.loads(json.dumps(SETTINGS))
    values["prompts"]["source"], values["reward"]["golden"] = str(folder / "prompts"), str(folder / "golden.json")
    judge, name = Judge(), values["reward"]["name"]
    pictures = readable(judge, golden_pictures())
    results = score_pictures(judge, pictures)
    record(folder / "golden.json", judge, name, {}, pictures, results, tolerance=0.01, with_pictures=False)
    return RunSettings.model_validate(values)


def write_prompts(week: Week, folder: Path) -> None:
    """Put a week's new prompts into the folder. Tasks drift: in each quarter another third of them prevails."""
    folder.mkdir(parents=True, exist_ok=True)
    if not week.news:
        return
    known = {json.loads(line)["text"] for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()}
    prompts = [prompt for prompt in all_prompts() if prompt.text not in known]
    train = [prompt for prompt in prompts if prompt.split == "train"]
    tasks = sorted({prompt.task for prompt in train})
    likely = {tasks[(week.number // 13 + number) % len(tasks)] for number in range(2)}
    draw = random.Random(week.number)
    ranked = sorted(train, key=lambda prompt: draw.random() / (4 if prompt.task in likely else 1))
    held_out = [prompt for prompt in prompts if prompt.split == "eval"]  # all in the first week, so that they are fixed
    lines = [
        json.dumps({"text": prompt.text, "split": prompt.split, "task": prompt.task, "spec": prompt.spec})
        for prompt in (*held_out, *ranked[: NEW if known else FIRST])
    ]
    (folder / f"week-{week.number:02d}.jsonl").write_text("".join(f"{line}\n" for line in lines))
