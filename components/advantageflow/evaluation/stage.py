"""The evaluation stage: judges a policy on held-out prompts, the same prompts and noise every time."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advantageflow.errors import DataError, RewardError
from advantageflow.evaluation import reward_hacking
from advantageflow.evaluation.labels import SOFT, further_terms, result, result_table, soft_column, strict_column
from advantageflow.evaluation.metrics import evaluation_metrics
from advantageflow.evaluation.page import PAGE_FILE, write_report_page
from advantageflow.evaluation.plan import Shot, choose_samples, plan_images
from advantageflow.evaluation.report import compared_metrics, write_report
from advantageflow.evaluation.reward_hacking import ImageStatistics, hacking_metrics
from advantageflow.evaluation.samples import Sample, sample_path
from advantageflow.evaluation.statistics import Outcome
from advantageflow.evaluation.terms import term_values
from advantageflow.policy.divergence import check_finite
from advantageflow.records import ADAPTER_FOLDER, METRICS_FILE, PROMPTS_FILE
from advantageflow.rewards.base import ACCURACIES, Reward, headline_column
from advantageflow.rewards.plumbing.checks import score_all, tell_dropped
from advantageflow.rewards.plumbing.terms import term_name, term_rewards, watched_rewards
from advantageflow.settings import EvaluationSettings, ModelSettings, RewardSettings
from advantageflow.store.conditioning import StoredConditioning, open_conditioning
from advantageflow.store.files import read_json, read_metadata, write_json, writing
from advantageflow.store.policies import read_policy_state
from advantageflow.store.prompts import read_prompts
from advantageflow.tracking.journal import Journal, current_journal

if TYPE_CHECKING:
    import numpy as np

    from advantageflow.policy.generate import Generator


def run(
    settings: EvaluationSettings,
    model: ModelSettings,
    reward: RewardSettings,
    seed: int,
    round_index: int,
    images: int,
    *,
    prompts: Path,
    conditioning: Path,
    policy: Path,
    report_out: Path,
    base: Path | None = None,
    page_out: Path | None = None,
    metrics_out: Path | None = None,
) -> None:
    """Generate held-out images with the policy, judge them, and write a report with intervals and sample pictures.

    Statistics of the images and watched rewards are held against the base policy's; beyond the bounds of
    `settings.alarms` they raise an alarm.

    Args:
        settings: how images are sampled.
        model: the base model.
        reward: what images are judged by: the first term's reward, and what every term came to.
        seed: the run's seed.
        round_index: the round that the policy comes from; 0 for the base.
        images: how many images to judge.
        prompts: the prompts artifact; its 'eval' prompts are used.
        conditioning: of these prompts.
        policy: the policy artifact; its 'policy' adapter generates, or the base model where it has none.
        report_out: folder of the report artifact to write.
        base: the report of the base policy; None (as for the base itself) raises no alarms.
        page_out: HTML file for people who look at the task in Kubeflow: the report's page.
        metrics_out: JSON file of the numbers by which Kubeflow compares runs.

    Raises:
        SettingsError: a term's reward is unknown, or has no such column.
        DataError: there are no held-out prompts, or an artifact is not as expected.
        PolicyError: the model or the policy cannot be loaded, or the policy has diverged.
        RewardError: a reward failed on an image; names it.
        StoreError: an input is corrupt, or the output cannot be written.
    """
    from advantageflow.policy.generate import load_generator

    journal = current_journal()
    judges = term_rewards(reward)
    headline = headline_column(judges[reward.name], reward.column)
    judges |= watched_rewards(reward, judges)
    known = read_prompts(prompts)
    if not any(prompt.split == "eval" for prompt in known):
        remedy = "give some prompts the split 'eval'"
        raise DataError("there are no held-out prompts", where=str(prompts / PROMPTS_FILE), remedy=remedy)
    stored = open_conditioning(conditioning, known)
    state = read_policy_state(policy)
    shots = plan_images(known, images, seed)
    generator = load_generator(model, policy, ADAPTER_FOLDER, settings.threads)

    journal.useful()
    to_show = [shot.seed for shot in choose_samples(shots, settings.sample_prompts)]
    outcomes: list[Outcome] = []
    statistics = ImageStatistics()
    dropped: list[RewardError] = []
    shown: dict[int, tuple[Sample, np.ndarray]] = {}  # by seed
    for batch, images_of_batch, norms in _generate(generator, settings, stored, shots):
        judged = _judge(reward, judges, batch, images_of_batch)
        for shot, picture, norm, scores in zip(batch, images_of_batch, norms, judged, strict=True):
            dropped += [scores] if isinstance(scores, RewardError) else []
            values = _nothing(judges) if isinstance(scores, RewardError) else scores
            outcomes.append(_outcome(shot, values, reward, headline))
            statistics.add(shot, picture, norm)
            if shot.seed in to_show:
                shown[shot.seed] = (_sample(shot, values[reward.name], reward.column, headline), picture)
        journal.progress(len(outcomes), images, "images")

    tell_dropped(reward, dropped, len(shots), journal, round_index)
    scored = [outcome for outcome in outcomes if outcome.judged]
    held_out = sum(prompt.split == "eval" for prompt in known)
    metrics = {"round": round_index, "policy_sha256": state.policy_sha256, "held_out_prompts": held_out}
    metrics |= evaluation_metrics(scored, judges, reward) | {"images": len(outcomes)}
    metrics |= {"dropped_images": len(dropped)} if dropped else {}
    metrics |= {key: told for key, told in read_metadata(prompts).items() if key == "warnings"}
    hacking, alarms = hacking_metrics(statistics.rows, scored, reward, judges, settings.alarms, base)
    metrics |= hacking
    pictures = [_with_image(*shown[one]) for one in to_show]
    texts = {shot.prompt.prompt_id: shot.prompt.text for shot in shots}
    page = partial(write_report_page, base=base, facts=_facts(settings, model, reward, seed), texts=texts)
    write_report(report_out, metrics, outcomes, pictures, statistics.rows, page)
    _track(journal, metrics, [shown[one][0] for one in to_show], report_out)
    before = [read_json(base / METRICS_FILE)] if base is not None else []
    headline_metric = f"evaluation/{strict_column(metrics)}"
    journal.result(result(*before, metrics), result_table(*before, metrics), headline_metric)
    if base is not None:
        journal.policy(policy, (base, report_out), prompts, settings.model_dump(mode="json"), seed)
    for alarm in alarms:
        journal.alarm(alarm.name, alarm.message, step=round_index)
    if metrics_out is not None:
        metrics_out.parent.mkdir(parents=True, exist_ok=True)
        write_json(metrics_out, compared_metrics(metrics))
    if page_out is not None:
        with writing(page_out):
            page_out.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(report_out / PAGE_FILE, page_out)
        journal.page(page_out)


def _generate(
    generator: Generator, settings: EvaluationSettings, stored: StoredConditioning, shots: Sequence[Shot]
) -> Iterator[tuple[Sequence[Shot], np.ndarray, list[float]]]:
    """Images (B, H, W, 3) of each batch of shots, and the norms of the velocities that led to them."""
    from advantageflow.policy.sampling import VelocityNorm

    norm = VelocityNorm()
    used = sorted({shot.row for shot in shots})
    conditioning, place = stored.rows(used), {row: number for number, row in enumerate(used)}
    unconditional = stored.unconditional() if settings.guidance_scale != 1 else None
    for start in range(0, len(shots), settings.batch):
        batch = shots[start : start + settings.batch]
        told = conditioning.rows([place[shot.row] for shot in batch])
        latents, pictures, _ = generator.images(told, [shot.seed for shot in batch], settings, unconditional, norm)
        check_finite(latents, [_name(shot) for shot in batch])
        yield batch, pictures, norm.values()


def _name(shot: Shot) -> str:
    return f"'{shot.prompt.text}', image {shot.repetition}"


def _judge(
    settings: RewardSettings, judges: Mapping[str, Reward], shots: Sequence[Shot], pictures: np.ndarray
) -> list[dict[str, dict[str, float]] | RewardError]:
    """Scores of each picture, by reward and column; the error of one that is left out."""
    prompts, names = [shot.prompt for shot in shots], [_name(shot) for shot in shots]
    results = score_all(settings, judges, prompts, list(pictures), names)
    return [
        one if isinstance(one, RewardError) else {name: values for name, (values, _) in one.items()} for one in results
    ]


def _nothing(judges: Mapping[str, Reward]) -> dict[str, dict[str, float]]:
    """Of an image that is left out: not a number in every column."""
    return {name: dict.fromkeys(judge.columns, math.nan) for name, judge in judges.items()}


def _outcome(shot: Shot, scores: Mapping[str, dict[str, float]], reward: RewardSettings, headline: str) -> Outcome:
    """Its headline and soft values; the column that training maximises stands in for a soft one that is lacking."""
    values = scores[reward.name]
    return Outcome(
        prompt_id=shot.prompt.prompt_id,
        task=shot.prompt.task,
        repetition=shot.repetition,
        seed=shot.seed,
        strict=values[headline],
        soft=values.get(SOFT, values[reward.column]),
        terms=term_values(reward, scores),
    )


def _sample(shot: Shot, values: dict[str, float], column: str, headline: str) -> Sample:
    prompt = shot.prompt
    if math.isnan(values[column]):
        return Sample(prompt.prompt_id, prompt.text, prompt.task, shot.seed, None, None)
    correct = bool(values[headline]) if headline in ACCURACIES else None
    return Sample(prompt.prompt_id, prompt.text, prompt.task, shot.seed, values[column], correct)


def _with_image(sample: Sample, picture: np.ndarray) -> tuple[Sample, Any]:
    from PIL import Image

    return sample, Image.fromarray(picture)


def _facts(settings: EvaluationSettings, model: ModelSettings, reward: RewardSettings, seed: int) -> dict[str, str]:
    """What the page says first."""
    return {
        "model": model.name,
        "trained on": ", ".join(term_name(term) for term in reward.terms),
        "seed": str(seed),
        "evaluated with": f"{settings.sampler}, {settings.steps} steps, guidance {settings.guidance_scale:g}",
    }


def _track(journal: Journal, metrics: dict[str, Any], samples: Sequence[Sample], report: Path) -> None:
    """Curves of the run by round, and its fixed-seed pictures."""
    low, high = metrics["strict_ci95"]
    strict, soft = strict_column(metrics), soft_column(metrics)
    curves = {strict: metrics["strict"], f"{strict}_low": low, f"{strict}_high": high, soft: metrics["soft"]}
    if len(metrics["tasks"]) > 1:
        curves |= {f"task/{task}": value for task, value in metrics["tasks"].items()}
    curves |= {name: term["mean"] for name, term in further_terms(metrics).items()}
    step = metrics["round"]
    evaluated = {f"evaluation/{name}": value for name, value in curves.items()}
    journal.metrics(evaluated | reward_hacking.curves(metrics), step=step, parent=True)
    for number, sample in enumerate(samples):
        journal.image(f"samples/{number:02d} {sample.text}", sample_path(report, number), step=step)
    journal.artifact(report, "report")
