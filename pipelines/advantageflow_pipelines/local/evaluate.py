"""Judging a trained policy thoroughly: base and tuned, with and without guidance, on equal prompts and noise."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from advantageflow.errors import SettingsError
from advantageflow.records import METRICS_FILE
from advantageflow.settings import EvaluationSettings, ModelSettings, PromptSettings, RewardSettings
from advantageflow.store.files import read_json, write_json
from advantageflow.store.policies import read_policy_state
from advantageflow.tracking.journal import Journal, journal_in_use
from advantageflow_pipelines.local.policies import FoundPolicy
from advantageflow_pipelines.local.results import conditioning_folder, policy_folders, prompts_folder

RESULTS_FILE = "results.json"
SHEET_FILE = "samples.png"
VARIANTS_FOLDER = "variants"

Progress = Callable[[str, int, int], None]
"""Told the variant, how many of its images are judged, and of how many."""


@dataclass(frozen=True)
class Judged:
    """A policy, and how it is judged unless a person says otherwise.

    Attributes:
        name: what a person calls it.
        policy: the policy artifact.
        round: how many rounds it was trained for.
        model: its base model.
        reward: what images are judged by.
        sampling: how images are made.
        seed: of the noise.
        prompts: its run's prompts artifact; None has `prompt_settings` prepared anew.
        prompt_settings: which prompts those are.
    """

    name: str
    policy: Path
    round: int
    model: ModelSettings
    reward: RewardSettings
    sampling: EvaluationSettings
    seed: int
    prompts: Path | None
    prompt_settings: PromptSettings


@dataclass(frozen=True)
class Variant:
    """One column of the tables.

    Attributes:
        name: such as 'tuned at guidance 4.5'.
        tuned: whether the policy makes the images, or the base model.
        guidance_scale: of classifier-free guidance; 1 is none.
        of: which policy that is, where several are compared.
    """

    name: str
    tuned: bool
    guidance_scale: float
    of: Judged | None = None

    @property
    def folder(self) -> str:
        return self.name.replace(" ", "-")


def judged_as_trained(found: FoundPolicy) -> Judged:
    """A trained policy, judged as its run did, or by what its state tells of that."""
    state = found.trained_state()
    if found.run is not None:
        workdir, settings = found.run
        return Judged(
            found.name, found.path, state.round, settings.model, settings.reward,
            settings.evaluation, settings.seed, prompts_folder(workdir, settings), settings.prompts,
        )  # fmt: skip
    return Judged(
        found.name, found.path, state.round, state.model or ModelSettings(), state.reward,
        found.sampling, 0, None, state.prompts,
    )  # fmt: skip


def with_start(found: FoundPolicy) -> list[Judged]:
    """A trained policy, and before it the one that its run went on from, if there is one."""
    judged = judged_as_trained(found)
    continued = found.run is not None and found.run[1].init_policy is not None
    start = policy_folders(*found.run).get(0) if found.run and continued else None
    return [judged] if start is None else [replace(judged, name="start", policy=start), replace(judged, name="tuned")]


def make_variants(scales: Sequence[float], judged: Sequence[Judged] = ()) -> list[Variant]:
    """Base and tuned at each guidance scale, the base first; several policies go by their names.

    Raises:
        SettingsError: two policies have one name, or not the same base model.
    """
    several = len(scales) > 1

    def name(who: str, scale: float) -> str:
        return f"{who} at guidance {scale:g}" if several and scale != 1 else who

    tuned: dict[str, Judged | None] = {one.name: one for one in judged} if len(judged) > 1 else {"tuned": None}
    models = {one.model.name for one in judged}
    if len(tuned) < len(judged) or len(models) > 1:
        what = "have different base models" if len(models) > 1 else "have the same name, or are one"
        where, remedy = ", ".join(one.name for one in judged), "give policies of one base model, each once"
        raise SettingsError(f"policies that are compared {what}", where=where, remedy=remedy)
    base = [Variant(name("base", scale), False, scale) for scale in scales]
    return base + [Variant(name(who, scale), True, scale, of) for who, of in tuned.items() for scale in scales]


def parse_scales(text: str) -> list[float]:
    """Guidance scales such as '1,4.5', each once, in order.

    Raises:
        SettingsError: one is not a number, below 1, or a duplicate.
    """
    remedy = "give numbers from 1 on, such as --guidance 1,4.5"
    try:
        scales = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise SettingsError("is not a list of numbers", where=f"--guidance {text}", remedy=remedy) from error
    if not all(1 <= scale < float("inf") for scale in scales) or len(set(scales)) < len(scales):
        raise SettingsError("a scale is below 1, or a duplicate", where=f"--guidance {text}", remedy=remedy)
    return scales


def evaluate(
    judged: Judged, sampling: EvaluationSettings, variants: Sequence[Variant], seed: int, out: Path, progress: Progress
) -> dict[str, Any]:
    """Generate and judge the images of all variants; write the reports, the results, a contact sheet and the page.

    Args:
        judged: the policy; of several the first, whose prompts and reward all are judged by.
        sampling: how images are made, guidance aside, and how many: `images`.
        variants: as of make_variants.
        seed: of the noise.
        out: an empty folder.
        progress: told how far it is.

    Returns:
        The comparison, as in results.json.

    Raises:
        UserError: as the evaluation and prompts stages.
    """
    from advantageflow.evaluation import stage
    from advantageflow.evaluation.comparison import compare_reports
    from advantageflow.evaluation.pictures import sample_sheet

    reports = {variant.name: out / VARIANTS_FOLDER / variant.folder for variant in variants}
    base_of = {variant.guidance_scale: reports[variant.name] for variant in variants if not variant.tuned}
    with tempfile.TemporaryDirectory(prefix="advantageflow-evaluate-") as scratch:
        prompts, conditioning, base_policy = _prepare(judged, seed, Path(scratch))
        for variant in variants:
            tuned = variant.of or judged
            with journal_in_use(_Told(variant.name, progress)):
                stage.run(
                    sampling.model_copy(update={"guidance_scale": variant.guidance_scale}),
                    judged.model, judged.reward, seed, tuned.round if variant.tuned else 0, sampling.images,
                    prompts=prompts,
                    conditioning=conditioning,
                    policy=tuned.policy if variant.tuned else base_policy,
                    report_out=reports[variant.name],
                    base=base_of[variant.guidance_scale] if variant.tuned else None,
                )  # fmt: skip
    comparison = compare_reports(reports)
    write_json(out / RESULTS_FILE, comparison)
    sample_sheet(reports, out / SHEET_FILE, columns=max(1, 8 // len(variants)))
    _write_page(judged, variants, sampling, seed, comparison, reports, out)
    return comparison


def _prepare(judged: Judged, seed: int, scratch: Path) -> tuple[Path, Path, Path]:
    """The prompts artifact, their conditioning, and a policy that is the base model."""
    from advantageflow.prompts import stage
    from advantageflow.prompts.initial_policy import write_base_policy

    policy = scratch / "base"
    prompts = judged.prompts or scratch / "prompts"
    conditioning = conditioning_folder(prompts)
    if judged.prompts is None:
        stage.run(
            judged.prompt_settings, judged.model, judged.reward, seed,
            init_policy=None, prompts_out=prompts, conditioning_out=conditioning, policy_out=policy,
        )  # fmt: skip
    else:
        write_base_policy(policy)
    return prompts, conditioning, policy


def _write_page(
    judged: Judged,
    of: Sequence[Variant],
    sampling: EvaluationSettings,
    seed: int,
    comparison: dict[str, Any],
    reports: dict[str, Path],
    out: Path,
) -> None:
    from advantageflow.evaluation.labels import result
    from advantageflow.evaluation.page import PAGE_FILE, write_page

    variants = comparison["variants"]
    policies = list({one.name: one for variant in of if (one := variant.of or judged)}.values())
    write_page(
        out / PAGE_FILE,
        title=result(*(read_json(folder / METRICS_FILE) for folder in reports.values())),
        subtitle=f"{', '.join(one.name for one in policies)}, against the base model",
        facts={
            "model": judged.model.name,
            "policy": ", ".join(str(read_policy_state(one.policy).policy_sha256)[:12] for one in policies),
            "trained on": ", ".join(f"{term.name}.{term.column}" for term in judged.reward.terms),
            "sampler": f"{sampling.sampler}, {sampling.steps} steps",
            "seed": str(seed),
        },
        comparison=comparison,
        reports=reports,
        alarms=[(name, alarm["message"]) for name, one in variants.items() for alarm in one["alarms"]],
    )


class _Told(Journal):
    """A journal that keeps nothing and passes progress on."""

    def __init__(self, name: str, progress: Progress) -> None:
        super().__init__()
        self._name, self._tell = name, progress

    def progress(self, done: int, total: int, unit: str) -> None:
        self._tell(self._name, done, total)

    def alarm(self, name: str, message: str, step: int) -> None:
        """The results have it too."""
