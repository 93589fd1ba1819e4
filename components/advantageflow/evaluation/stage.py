"""The evaluation stage: judges a policy on held-out prompts, the same prompts and noise every time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advantageflow.errors import DataError, PolicyError
from advantageflow.evaluation.plan import Shot, choose_samples, plan_images
from advantageflow.evaluation.report import Sample, sample_path, write_report
from advantageflow.evaluation.statistics import Estimate, Outcome, image_mean, mean_of_task_means, task_estimates
from advantageflow.records import ADAPTER_FOLDER, PROMPTS_FILE
from advantageflow.rewards.base import Reward
from advantageflow.rewards.checks import check_column, score_images
from advantageflow.rewards.registry import get_reward
from advantageflow.settings import EvaluationSettings, ModelSettings, RewardSettings
from advantageflow.store.artifacts import Embeddings, read_embeddings, read_policy_state, read_prompts
from advantageflow.tracking.journal import Journal, current_journal

if TYPE_CHECKING:
    import numpy as np

    from advantageflow.policy.generate import Generator

STRICT, SOFT = "strict", "soft"


def run(
    settings: EvaluationSettings,
    model: ModelSettings,
    reward: RewardSettings,
    seed: int,
    round_index: int,
    images: int,
    *,
    prompts: Path,
    policy: Path,
    report_out: Path,
) -> None:
    """Generate held-out images with the policy, judge them, and write a report with intervals and sample pictures.

    Args:
        settings: how images are sampled.
        model: the base model.
        reward: what images are judged by.
        seed: the run's seed.
        round_index: the round that the policy comes from; 0 for the base.
        images: how many images to judge.
        prompts: the prompts artifact; its 'eval' prompts are used.
        policy: the policy artifact; its 'policy' adapter generates, or the base model where it has none.
        report_out: folder of the report artifact to write.

    Raises:
        SettingsError: the reward is unknown, or has no such column.
        DataError: there are no held-out prompts, or an artifact is not as expected.
        PolicyError: the model or the policy cannot be loaded, or the policy has diverged.
        RewardError: the reward failed on an image; names it.
        StoreError: an input is corrupt, or the output cannot be written.
    """
    from advantageflow.policy.generate import Generator

    journal = current_journal()
    judge = get_reward(reward.name)
    check_column(judge, reward.column)
    known = read_prompts(prompts)
    if not any(prompt.split == "eval" for prompt in known):
        remedy = "give some prompts the split 'eval'"
        raise DataError("there are no held-out prompts", where=str(prompts / PROMPTS_FILE), remedy=remedy)
    embeddings = read_embeddings(prompts, rows=len(known))
    state = read_policy_state(policy)
    shots = plan_images(known, images, seed)
    generator = Generator(model, policy, ADAPTER_FOLDER, settings.threads)

    journal.useful()
    to_show = [shot.seed for shot in choose_samples(shots, settings.sample_prompts)]
    outcomes: list[Outcome] = []
    shown: dict[int, tuple[Sample, np.ndarray]] = {}  # by seed
    for batch, pictures in _generate(generator, settings, embeddings, shots):
        results = score_images(judge, [s.prompt for s in batch], list(pictures), [_name(shot) for shot in batch])
        for shot, picture, (values, _) in zip(batch, pictures, results, strict=True):
            outcomes.append(_outcome(shot, values, reward.column))
            if shot.seed in to_show:
                shown[shot.seed] = (_sample(shot, values, reward.column), picture)
        journal.progress(len(outcomes), images, "images")

    metrics = {"round": round_index, "policy_sha256": state["policy_sha256"]} | _metrics(outcomes, judge, reward.column)
    write_report(report_out, metrics, outcomes, [_with_image(*shown[one]) for one in to_show])
    _track(journal, metrics, [shown[one][0] for one in to_show], report_out)


def _generate(
    generator: Generator, settings: EvaluationSettings, embeddings: Embeddings, shots: Sequence[Shot]
) -> Iterator[tuple[Sequence[Shot], np.ndarray]]:
    """Images (B, H, W, 3) of each batch of shots."""
    for start in range(0, len(shots), settings.batch):
        batch = shots[start : start + settings.batch]
        rows = [shot.row for shot in batch]
        latents, pictures = generator.images(
            embeddings.prompt_embeds[rows],
            embeddings.pooled[rows],
            [shot.seed for shot in batch],
            steps=settings.steps,
            sampler=settings.sampler,
            shift=settings.shift,
            guidance_scale=settings.guidance_scale,
            empty=(embeddings.empty_prompt_embeds, embeddings.empty_pooled),
        )
        for shot, finite in zip(batch, latents.flatten(1).isfinite().all(1).tolist(), strict=True):
            if not finite:
                remedy = "the policy has diverged: raise training.lam or lower training.learning_rate"
                raise PolicyError("its latent is not finite", where=_name(shot), remedy=remedy)
        yield batch, pictures


def _name(shot: Shot) -> str:
    return f"'{shot.prompt.text}', image {shot.repetition}"


def _outcome(shot: Shot, values: dict[str, float], column: str) -> Outcome:
    """Its strict and soft values; the column that training maximises stands in for one that the reward lacks."""
    fallback = values[column]
    return Outcome(
        prompt_id=shot.prompt.prompt_id,
        task=shot.prompt.task,
        repetition=shot.repetition,
        seed=shot.seed,
        strict=values.get(STRICT, fallback),
        soft=values.get(SOFT, fallback),
    )


def _sample(shot: Shot, values: dict[str, float], column: str) -> Sample:
    prompt = shot.prompt
    correct = bool(values[STRICT]) if STRICT in values else None
    return Sample(prompt.prompt_id, prompt.text, prompt.task, shot.seed, float(values[column]), correct)


def _with_image(sample: Sample, picture: np.ndarray) -> tuple[Sample, Any]:
    from PIL import Image

    return sample, Image.fromarray(picture)


def _metrics(outcomes: Sequence[Outcome], judge: Reward, column: str) -> dict[str, Any]:
    """The numbers of metrics.json; strict and soft are means of the task means, as GenEval reports them."""
    names = {kind: kind if kind in judge.columns else column for kind in (STRICT, SOFT)}
    strict, soft = mean_of_task_means(outcomes, STRICT), mean_of_task_means(outcomes, SOFT)
    tasks, soft_tasks = task_estimates(outcomes, STRICT), task_estimates(outcomes, SOFT)
    ranges = {kind: judge.columns[name] for kind, name in names.items()}
    return {
        "images": len(outcomes),
        "prompts": len({outcome.prompt_id for outcome in outcomes}),
        "reward": judge.name,
        "reward_version": judge.version,
        "strict_column": names[STRICT],
        "soft_column": names[SOFT],
        "strict": strict.mean,
        "strict_ci95": _interval(strict, ranges[STRICT]),
        "soft": soft.mean,
        "soft_ci95": _interval(soft, ranges[SOFT]),
        "strict_image_mean": image_mean(outcomes, STRICT).mean,
        "soft_image_mean": image_mean(outcomes, SOFT).mean,
        "tasks": {task: estimate.mean for task, estimate in tasks.items()},
        "tasks_ci95": {task: _interval(estimate, ranges[STRICT]) for task, estimate in tasks.items()},
        "tasks_soft": {task: estimate.mean for task, estimate in soft_tasks.items()},
    }


def _interval(estimate: Estimate, limits: tuple[float, float]) -> list[float]:
    """The 95 % interval, within what the column can be."""
    low, high = estimate.ci95
    return [max(low, limits[0]), min(high, limits[1])]


def _track(journal: Journal, metrics: dict[str, Any], samples: Sequence[Sample], report: Path) -> None:
    """Curves of the run by round, and its fixed-seed pictures."""
    low, high = metrics["strict_ci95"]
    curves = {"strict": metrics["strict"], "strict_low": low, "strict_high": high, "soft": metrics["soft"]}
    curves |= {f"task/{task}": value for task, value in metrics["tasks"].items()}
    curves |= {"strict_image_mean": metrics["strict_image_mean"]}
    step = metrics["round"]
    journal.metrics({f"evaluation/{name}": value for name, value in curves.items()}, step=step, parent=True)
    for number, sample in enumerate(samples):
        journal.image(f"samples/{number:02d} {sample.text}", sample_path(report, number), step=step)
    journal.artifact(report, "report")
