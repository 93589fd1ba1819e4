"""The evaluation stage: judges a policy on held-out prompts, the same prompts and noise every time."""

import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from advantageflow.annotations import Generator
from advantageflow.errors import DataError, RewardError
from advantageflow.evaluation import reward_hacking
from advantageflow.evaluation.labels import SOFT, further_terms, result, result_table, soft_column, strict_column
from advantageflow.evaluation.page import PAGE_FILE, write_report_page
from advantageflow.evaluation.pictures import Sample, sample_path
from advantageflow.evaluation.plan import Shot, choose_samples, plan_images
from advantageflow.evaluation.report import BASE_FOLDER, compared_metrics, evaluation_metrics, write_report
from advantageflow.evaluation.statistics import Outcome
from advantageflow.policy.divergence import check_finite
from advantageflow.records import ADAPTER_FOLDER, METRICS_FILE, PROMPTS_FILE
from advantageflow.rewards.base import ACCURACIES, headline_column
from advantageflow.rewards.plumbing.checks import score_all, tell_dropped
from advantageflow.rewards.plumbing.terms import term_name, term_rewards, watched_rewards
from advantageflow.settings import EvaluationSettings, ModelSettings, RewardSettings
from advantageflow.store.conditioning import StoredConditioning, open_conditioning
from advantageflow.store.files import read_json, read_metadata, write_json, writing
from advantageflow.store.policies import PolicyState, read_policy_state
from advantageflow.store.prompts import read_prompts
from advantageflow.tracking.journal import Journal, current_journal, journal_in_use


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
    beside_base: bool = False,
) -> None:
    """Generate held-out images with the policy, judge them, and write a report with intervals and sample pictures.

    Statistics of the images and watched rewards are held against the base policy's; beyond the bounds of
    `settings.alarms` they raise an alarm.

    Args:
        reward: what images are judged by: the first term's reward, and what every term came to.
        round_index: the round that the policy comes from; 0 for the base.
        images: how many to judge.
        prompts, conditioning: of the run, whose 'eval' prompts are used.
        policy: whose 'policy' adapter generates, or the base model where it has none.
        base: the report of the base policy; None (as for the base itself) raises no alarms.
        page_out: HTML file for people who look at the task in Kubeflow: the report's page.
        metrics_out: JSON file of the numbers by which Kubeflow compares runs.
        beside_base: whether a trained policy is held against the base model, whose report goes into BASE_FOLDER.

    Raises:
        SettingsError: a term's reward is unknown, or has no such column.
        DataError: there are no held-out prompts, or an artifact is not as expected.
        PolicyError: the model or the policy cannot be loaded, or the policy has diverged.
        RewardError: a reward failed on an image; names it.
        StoreError: an input is corrupt, or the output cannot be written.
    """
    from PIL import Image

    from advantageflow.policy.generate import load_generator

    journal = current_journal()
    judges = term_rewards(reward)
    headline = headline_column(judges[reward.name], reward.column)
    judges |= watched_rewards(reward, judges)
    known = read_prompts(prompts)
    held_out = sum(prompt.split == "eval" for prompt in known)
    if not held_out:
        remedy = "give some prompts the split 'eval'"
        raise DataError("there are no held-out prompts", where=str(prompts / PROMPTS_FILE), remedy=remedy)
    stored = open_conditioning(conditioning, known)
    state = read_policy_state(policy)
    shots = plan_images(known, images, seed)
    generator = load_generator(model, policy, ADAPTER_FOLDER, settings.threads)

    journal.useful()
    to_show = [shot.seed for shot in choose_samples(shots, settings.sample_prompts)]
    outcomes: list[Outcome] = []
    statistics = reward_hacking.ImageStatistics()
    dropped: list[RewardError] = []
    shown: dict[int, tuple[Sample, np.ndarray]] = {}  # by seed
    unscored = {name: (dict.fromkeys(judge.columns, math.nan), None) for name, judge in judges.items()}
    for batch, pictures, norms in _generate(generator, settings, stored, shots):
        judged = score_all(reward, judges, [one.prompt for one in batch], list(pictures), list(map(_name, batch)))
        for shot, picture, norm, scores in zip(batch, pictures, norms, judged, strict=True):
            dropped += [scores] if isinstance(scores, RewardError) else []
            told = unscored if isinstance(scores, RewardError) else scores
            values = {name: columns for name, (columns, _) in told.items()}
            outcomes.append(_outcome(shot, values, reward, headline))
            statistics.add(shot, picture, norm)
            if shot.seed in to_show:
                shown[shot.seed] = (_sample(shot, values[reward.name], reward.column, headline), picture)
        journal.progress(len(outcomes), images, "images")

    tell_dropped(reward, dropped, len(shots), journal, round_index)
    scored = [outcome for outcome in outcomes if outcome.judged]
    metrics = {"round": round_index, "policy_sha256": state.policy_sha256, "held_out_prompts": held_out}
    metrics |= evaluation_metrics(scored, judges, reward) | {"images": len(outcomes)}
    metrics |= {"dropped_images": len(dropped)} if dropped else {}
    metrics |= {key: told for key, told in read_metadata(prompts).items() if key == "warnings"}
    hacking, alarms = reward_hacking.hacking_metrics(statistics.rows, scored, reward, judges, settings.alarms, base)
    metrics |= hacking
    facts = {
        "model": model.name,
        "trained on": ", ".join(term_name(term) for term in reward.terms),
        "seed": str(seed),
        "evaluated with": f"{settings.sampler}, {settings.steps} steps, guidance {settings.guidance_scale:g}",
    }
    texts = {shot.prompt.prompt_id: shot.prompt.text for shot in shots}
    samples = [(sample, Image.fromarray(picture)) for sample, picture in (shown[one] for one in to_show)]
    del generator, judges  # the base's evaluation loads its own
    with tempfile.TemporaryDirectory(prefix="advantageflow-base-") as folder:
        of_base = Path(folder) / BASE_FOLDER if beside_base and state.trained else None
        if of_base is not None:
            PolicyState(round=0, step=0, policy_sha256=None).write(Path(folder))
            with journal_in_use(Quiet(journal)):
                run(
                    settings, model, reward, seed, 0, images, prompts=prompts, conditioning=conditioning,
                    policy=Path(folder), report_out=of_base,
                )  # fmt: skip
        page = partial(write_report_page, base=base, facts=facts, texts=texts)
        write_report(report_out, metrics, outcomes, samples, statistics.rows, page, of_base)
    _track(journal, metrics, [sample for sample, _ in samples], report_out)
    beside = [report_out / BASE_FOLDER] if base is None else [base / BASE_FOLDER, base]
    before = [read_json(report / METRICS_FILE) for report in beside if report.exists()]
    start = before[-1:] if base is not None else []
    headline_metric = f"evaluation/{strict_column(metrics)}"
    journal.result(result(*start, metrics), result_table(*before, metrics), headline_metric)
    if base is not None:
        journal.policy(policy, (base, report_out), prompts, settings.model_dump(mode="json"), seed)
    for alarm in alarms:
        journal.alarm(alarm.name, alarm.message, step=round_index)
    if metrics_out is not None:
        write_json(metrics_out, compared_metrics(metrics))
    if page_out is not None:
        with writing(page_out):
            page_out.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(report_out / PAGE_FILE, page_out)
        journal.page(page_out)


class Quiet(Journal):
    """A journal that passes progress on, and keeps nothing."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal

    def progress(self, done: int, total: int, unit: str) -> None:
        self._journal.progress(done, total, unit)


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


def _outcome(shot: Shot, scores: dict[str, dict[str, float]], reward: RewardSettings, headline: str) -> Outcome:
    """Its headline and soft values; the column that training maximises stands in for a soft one that is lacking."""
    values = scores[reward.name]
    return Outcome(
        prompt_id=shot.prompt.prompt_id,
        task=shot.prompt.task,
        repetition=shot.repetition,
        seed=shot.seed,
        strict=values[headline],
        soft=values.get(SOFT, values[reward.column]),
        terms={term_name(term): scores[term.name][term.column] for term in (*reward.terms, *reward.watched)},
    )


def _sample(shot: Shot, values: dict[str, float], column: str, headline: str) -> Sample:
    prompt, scored = shot.prompt, not math.isnan(values[column])
    correct = bool(values[headline]) if scored and headline in ACCURACIES else None
    return Sample(prompt.prompt_id, prompt.text, prompt.task, shot.seed, values[column] if scored else None, correct)


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
