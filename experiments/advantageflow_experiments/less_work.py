"""Does less work do for the same result? Rollouts drawn by advantage, the most telling alone, earlier ones once more.

`python -m advantageflow_experiments.less_work OUT` runs every variant with every seed, each alone in this process and
on one thread, so that its seconds are the CPU's own and a machine that others use tells the truth as well. What is
complete in OUT is kept: the command goes on where it was stopped. `--seeds 100,101` and `--variants uniform-4,...` take
some of them; the table is of what all seeds of a variant have come to.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from advantageflow.configure import load_settings
from advantageflow.evaluation.labels import SOFT, STRICT, soft_label, strict_label
from advantageflow.evaluation.metrics import evaluation_metrics
from advantageflow.evaluation.plan import plan_images
from advantageflow.evaluation.statistics import Outcome
from advantageflow.flow.advantages import Advantages, Term
from advantageflow.loop.share import Share, join_shares
from advantageflow.policy.conditioning import join
from advantageflow.policy.generate import Generator
from advantageflow.policy.loading import load_vae
from advantageflow.policy.sampling import noise_levels
from advantageflow.prompts import stage as prompts_stage
from advantageflow.records import ADAPTER_FOLDER, ROLLOUT_ADAPTER_FOLDER, Prompt, derive_seed
from advantageflow.rewards.plumbing.checks import score_images
from advantageflow.rewards.plumbing.terms import term_name, term_rewards
from advantageflow.rollout.selection import chunks
from advantageflow.rollout.stage import generate_chunks, round_prompts
from advantageflow.scoring.stage import score_rollouts
from advantageflow.settings import RunSettings, TrainingSettings
from advantageflow.store.conditioning import StoredConditioning, open_conditioning
from advantageflow.store.files import read_json, write_json
from advantageflow.store.prompt_history import PromptHistory
from advantageflow.store.prompts import read_prompts
from advantageflow.tracking.provenance import provenance
from advantageflow.training.data import RoundData
from advantageflow.training.policy import Policy
from advantageflow.training.round import round_advantages, train_round
from advantageflow.training.train import load_policy, make_repeatable
from advantageflow_experiments.compare.comparison import CellResult, Comparison, Point, write_comparison
from advantageflow_experiments.compare.pictures import draw
from advantageflow_experiments.compare.plan import Assignments, Plan, Variant

SEEDS = (100, 101, 102, 103, 104)
TARGET = 0.85
COMMON = ("rollout.shards=1", "rollout.threads=1", "training.threads=1", "evaluation.threads=1",
          "evaluation.images=720")  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """A variant: what it changes of preset `shapes`, and what no setting says.

    Attributes:
        telling: share of each group that is trained on: the samples of the largest |A|.
        reuse: whether the rollouts of the round before are trained on once more, beside the new ones.
    """

    label: str
    assignments: Assignments = field(default_factory=dict)
    telling: float = 1.0
    reuse: bool = False


_HALF: Assignments = {"rollout.prompts_per_round": 32}
_DRAWN: Assignments = {"training.sampling": "by_advantage"}
_TWO: Assignments = {"training.inner_epochs": 2}
RECIPES = {
    "uniform-4": Recipe("today: 4 uniform epochs"),
    "half-by-advantage": Recipe("half of the images, 4 epochs by advantage", _HALF | _DRAWN),
    "by-advantage-2": Recipe("2 epochs by advantage", _TWO | _DRAWN),
    "half": Recipe("half of the images, 4 uniform epochs", _HALF),
    "half-reuse": Recipe("half of the images, 2 epochs, and 2 in the round after", _HALF | _TWO, reuse=True),
    "telling": Recipe("best and worst of 24, 4 epochs", _HALF | {"rollout.group_size": 24}, telling=0.5),
    "uniform-2": Recipe("2 uniform epochs", _TWO),
    "by-advantage-4": Recipe("4 epochs by advantage", _DRAWN),
}


class Run:
    """A run of one variant with one seed, evaluated in the second half of its rounds."""

    def __init__(self, recipe: Recipe, settings: RunSettings, folder: Path) -> None:
        self._recipe, self._settings = recipe, settings
        training = settings.training.of_a_run(settings.rounds)
        self._training: TrainingSettings = training
        make_repeatable(training.threads)
        prompts_stage.run(
            settings.prompts, settings.model, settings.reward, settings.seed, init_policy=None,
            prompts_out=folder / "prompts", conditioning_out=folder / "conditioning", policy_out=folder / "policy",
        )  # fmt: skip
        self._known: list[Prompt] = list(read_prompts(folder / "prompts"))
        self._stored: StoredConditioning = open_conditioning(folder / "conditioning", self._known)
        self._rewards = term_rewards(settings.reward)
        self._policy: Policy = load_policy(training, settings.model, settings.seed, folder / "policy")
        self._generator = Generator(settings.model, self._policy.transformer, load_vae(settings.model))
        self._earlier: RoundData | None = None

    def points(self, base: Path) -> list[dict[str, Any]]:
        """Its evaluations, the base model's first (kept in a file for all runs of the seed); 'seconds' by stage."""
        seconds, generated = dict.fromkeys(("rollout", "reward", "training"), 0.0), 0
        if not base.exists():
            write_json(base, self._evaluated(0))
        points = [read_json(base)]
        for number in range(1, self._settings.rounds + 1):
            for stage, spent in self._round(number).items():
                seconds[stage] += spent
            generated += self._settings.rollout.prompts_per_round * self._settings.rollout.group_size
            if 2 * number > self._settings.rounds:
                point = {"generated": generated, "training_seconds": sum(seconds.values()), "seconds": dict(seconds)}
                points.append(self._evaluated(number) | point)
                print(f"  round {number}: {points[-1]['strict']:.3f} after {generated} images, "
                      f"{ {name: round(one) for name, one in seconds.items()} } s", flush=True)  # fmt: skip
        return points

    def _round(self, number: int) -> dict[str, float]:
        """A round as the loop has it; CPU seconds of each stage."""
        settings, clock = self._settings, [time.process_time()]
        rollout, seed = settings.rollout, settings.seed
        chosen = round_prompts(rollout, seed, number, self._known, PromptHistory())
        prompt_of = {prompt.prompt_id: prompt for prompt in self._known}
        with self._policy.adapters.generating(ROLLOUT_ADAPTER_FOLDER):
            groups = generate_chunks(
                self._generator, rollout, chunks(chosen, rollout.batch_groups), self._known, self._stored,
                seed=seed, round_index=number, rounds_before=0,
            )  # fmt: skip
        clock.append(time.process_time())
        asked = [prompt_of[one.prompt_id] for one in groups.rollouts]
        samples = zip(asked, groups.rollouts, groups.images, strict=True)
        scores, _, _ = score_rollouts(settings.reward, self._rewards, samples, len(asked))
        clock.append(time.process_time())
        share = Share(groups.rollouts, groups.latents, None, scores, {})
        levels = noise_levels(settings.model, rollout)[:-1].tolist()
        new = join_shares([share], self._known, self._stored, settings.reward, self._rewards, levels)
        data = both(self._earlier, new) if self._recipe.reuse and self._earlier is not None else new
        self._earlier = new
        advantages = round_advantages(data, self._training)
        self._policy.set_learning_rate(self._training.learning_rate_in(number))
        minibatches = None
        if self._recipe.telling < 1:
            minibatches = telling_minibatches(advantages, self._training, self._recipe.telling, seed, number)
        train_round(self._policy, data, advantages, self._training, seed=seed, round_index=number,
                    minibatches=minibatches)  # fmt: skip
        clock.append(time.process_time())
        return {name: after - before for name, before, after in zip(
            ("rollout", "reward", "training"), clock[:-1], clock[1:], strict=True)}  # fmt: skip

    def _evaluated(self, number: int) -> dict[str, Any]:
        """Held-out accuracy after a round, as a point of a comparison."""
        settings = self._settings
        how, (term,) = settings.evaluation, settings.reward.terms
        shots, outcomes = plan_images(self._known, how.images, settings.seed), []
        with self._policy.adapters.generating(ADAPTER_FOLDER):
            for start in range(0, len(shots), how.batch):
                batch = shots[start : start + how.batch]
                told = self._stored.rows([shot.row for shot in batch])
                _, images, _ = self._generator.images(told, [shot.seed for shot in batch], how)
                named = [shot.prompt for shot in batch]
                judged = score_images(self._rewards[term.name], named, list(images), [one.text for one in named])
                for shot, (values, _) in zip(batch, judged, strict=True):
                    one, seen, terms = shot.prompt, shot.repetition, {term_name(term): values[term.column]}
                    outcomes.append(
                        Outcome(one.prompt_id, one.task, seen, shot.seed, values[STRICT], values[SOFT], terms)
                    )
        found = evaluation_metrics(outcomes, self._rewards, settings.reward)
        labels = {"strict_label": strict_label(found), "soft_label": soft_label(found)}
        return {name: found[name] for name in ("strict", "strict_ci95", "soft", "tasks")} | labels | {"round": number}


def both(earlier: RoundData, new: RoundData) -> RoundData:
    """The groups of two rounds as those of one."""
    pairs = zip(earlier.terms, new.terms, strict=True)
    terms = tuple(Term(torch.cat([one.rewards, other.rewards]), other.weight, other.minimum) for one, other in pairs)
    conditioning = join([earlier.conditioning, new.conditioning])
    return replace(new, latents=torch.cat([earlier.latents, new.latents]), conditioning=conditioning, terms=terms,
                   columns={}, prompt_ids=())  # fmt: skip


def telling_minibatches(
    advantages: Advantages, training: TrainingSettings, share: float, seed: int, number: int
) -> list[torch.Tensor]:
    """Uniform minibatches of the samples of each group whose |A| are largest."""
    values = advantages.values.abs()
    size = values.shape[1]
    best = values.topk(round(share * size), 1).indices + size * torch.arange(len(values))[:, None]
    generator, kept = torch.Generator().manual_seed(derive_seed(seed, "telling", number)), best.flatten()
    order = [kept[torch.randperm(len(kept), generator=generator)] for _ in range(training.inner_epochs)]
    return list(torch.cat(order).tensor_split(training.gradient_steps))


def run_cell(name: str, seed: int, file: Path) -> None:
    """Run a variant with a seed, and write its points."""
    recipe = RECIPES[name]
    texts = [*COMMON, *(f"{key}={value}" for key, value in recipe.assignments.items()), f"seed={seed}"]
    print(f"{time.strftime('%H:%M:%S')} {name}, seed {seed}", flush=True)
    with TemporaryDirectory() as folder:
        run = Run(recipe, load_settings("shapes", None, texts), Path(folder))
        write_json(file, {"points": run.points(file.with_name(f"base-seed{seed}.json"))})


def compared(folder: Path, variants: Sequence[str], seeds: Sequence[int]) -> Comparison:
    """What the cells in a folder came to, as a comparison; seeds of which a variant is missing are left out."""
    seeds = [seed for seed in seeds if all(_file(folder, name, seed).exists() for name in variants)]
    plan = Plan(
        title="Less work for the same result (CPU seconds of one thread)", preset="shapes", seeds=tuple(seeds),
        target=TARGET, common=dict(text.split("=") for text in COMMON),
        variants={name: Variant(label=RECIPES[name].label, assignments=RECIPES[name].assignments) for name in variants},
    )  # fmt: skip
    cells = []
    for seed in seeds:
        for name in variants:
            points = read_json(_file(folder, name, seed))["points"]
            last, labels = points[-1], {key: points[0][key] for key in ("strict_label", "soft_label")}
            cells.append(CellResult(variant=name, seed=seed, points=tuple(map(Point.model_validate, points)),
                                    seconds=last["training_seconds"], **labels))  # fmt: skip
    images = max(cell.last.generated for cell in cells)
    return Comparison(name="less-work", plan=plan, images=images, versions=provenance(), cells=tuple(cells))


def _file(folder: Path, name: str, seed: int) -> Path:
    return folder / "cells" / f"{name}-seed{seed}.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    parser.add_argument("--variants", default=",".join(RECIPES))
    parser.add_argument("--draw", action="store_true", help="only draw what is there")
    told = parser.parse_args()
    seeds, variants = [int(one) for one in told.seeds.split(",")], told.variants.split(",")
    (told.out / "cells").mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        for name in variants:
            if not told.draw and not _file(told.out, name, seed).exists():
                run_cell(name, seed, _file(told.out, name, seed))
    comparison = compared(told.out, variants, seeds)
    write_comparison(told.out / "comparison.json", comparison)
    draw(comparison, told.out)


if __name__ == "__main__":
    main()
