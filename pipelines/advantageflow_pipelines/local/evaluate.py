"""Judging a trained policy thoroughly: base and tuned, with and without guidance, on equal prompts and noise."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from advantageflow.errors import SettingsError
from advantageflow.records import METRICS_FILE
from advantageflow.settings import RunSettings
from advantageflow.store.files import read_json, write_json
from advantageflow.store.policies import read_policy_state
from advantageflow.tracking.journal import Journal, journal_in_use
from advantageflow_pipelines.local.policies import FoundPolicy
from advantageflow_pipelines.local.workdir import conditioning_folder

RESULTS_FILE = "results.json"
SHEET_FILE = "samples.png"
VARIANTS_FOLDER = "variants"

Progress = Callable[[str, int, int], None]
"""Told the variant, how many of its images are judged, and of how many."""


@dataclass(frozen=True)
class Variant:
    """One column of the tables."""

    name: str  # such as 'tuned at guidance 4.5'
    tuned: bool  # whether the policy makes the images, or the base model
    guidance_scale: float  # of classifier-free guidance; 1 is none
    of: FoundPolicy | None = None  # which policy that is, where several are compared

    @property
    def folder(self) -> str:
        return self.name.replace(" ", "-")


def with_start(found: FoundPolicy) -> list[FoundPolicy]:
    """A trained policy, and before it the one that its run went on from, if there is one."""
    continued = found.run is not None and found.run.settings.init_policy is not None
    start = found.run.policies().get(0) if found.run and continued else None
    if start is None:
        return [found]
    return [replace(found, name="start", path=start, state=read_policy_state(start)), replace(found, name="tuned")]


def make_variants(scales: Sequence[float], judged: Sequence[FoundPolicy] = ()) -> list[Variant]:
    """Base and tuned at each guidance scale, the base first; several policies go by their names.
    Raises SettingsError: two policies have one name, or not the same base model.
    """
    several = len(scales) > 1

    def name(who: str, scale: float) -> str:
        return f"{who} at guidance {scale:g}" if several and scale != 1 else who

    tuned: dict[str, FoundPolicy | None] = {one.name: one for one in judged} if len(judged) > 1 else {"tuned": None}
    models = {one.settings.model.name for one in judged}
    if len(tuned) < len(judged) or len(models) > 1:
        what = "have different base models" if len(models) > 1 else "have the same name, or are one"
        where, remedy = ", ".join(one.name for one in judged), "give policies of one base model, each once"
        raise SettingsError(f"policies that are compared {what}", where=where, remedy=remedy)
    base = [Variant(name("base", scale), False, scale) for scale in scales]
    return base + [Variant(name(who, scale), True, scale, of) for who, of in tuned.items() for scale in scales]


def parse_scales(text: str) -> list[float]:
    """Guidance scales such as '1,4.5', each once, in order.
    Raises SettingsError: one is not a number, below 1, or a duplicate.
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
    judged: FoundPolicy, settings: RunSettings, variants: Sequence[Variant], out: Path, progress: Progress
) -> dict[str, Any]:
    """Generate and judge the images of all variants; write the reports, the results, a contact sheet and the page.
    Raises UserError: as the evaluation and prompts stages.

    Args:
        judged: the policy; of several the first, whose prompts and reward all are judged by.
        settings: its own, or others of model, reward, evaluation (guidance aside) and seed.
        variants: as of make_variants.
        out: an empty folder.

    Returns:
        The comparison, as in results.json.
    """
    from advantageflow.evaluation import stage
    from advantageflow.evaluation.comparison import compare_reports
    from advantageflow.evaluation.labels import result
    from advantageflow.evaluation.page import PAGE_FILE, write_page
    from advantageflow.evaluation.pictures import sample_sheet

    reports = {variant.name: out / VARIANTS_FOLDER / variant.folder for variant in variants}
    base_of = {variant.guidance_scale: reports[variant.name] for variant in variants if not variant.tuned}
    sampling = settings.evaluation
    with tempfile.TemporaryDirectory(prefix="advantageflow-evaluate-") as scratch:
        prompts, base_policy = _prepare(judged, settings, Path(scratch))
        for variant in variants:
            tuned = variant.of or judged
            with journal_in_use(_Told(variant.name, progress)):
                stage.run(
                    sampling.model_copy(update={"guidance_scale": variant.guidance_scale}),
                    settings.model, settings.reward, settings.seed,
                    tuned.trained_state().round if variant.tuned else 0, sampling.images,
                    prompts=prompts,
                    conditioning=conditioning_folder(prompts),
                    policy=tuned.path if variant.tuned else base_policy,
                    report_out=reports[variant.name],
                    base=base_of[variant.guidance_scale] if variant.tuned else None,
                )  # fmt: skip
    comparison = compare_reports(reports)
    write_json(out / RESULTS_FILE, comparison)
    sample_sheet(reports, out / SHEET_FILE, columns=max(1, 8 // len(variants)))
    policies = list({one.name: one for variant in variants if (one := variant.of or judged)}.values())
    write_page(
        out / PAGE_FILE,
        title=result(*(read_json(folder / METRICS_FILE) for folder in reports.values())),
        subtitle=f"{', '.join(one.name for one in policies)}, against the base model",
        facts={
            "model": settings.model.name,
            "policy": ", ".join(str(one.trained_state().policy_sha256)[:12] for one in policies),
            "trained on": ", ".join(f"{term.name}.{term.column}" for term in settings.reward.terms),
            "sampler": f"{settings.evaluation.sampler}, {settings.evaluation.steps} steps",
            "seed": str(settings.seed),
        },
        comparison=comparison,
        reports=reports,
        alarms=[(name, alarm["message"]) for name, one in comparison["variants"].items() for alarm in one["alarms"]],
    )
    return comparison


def _prepare(judged: FoundPolicy, settings: RunSettings, scratch: Path) -> tuple[Path, Path]:
    """The prompts of its run, or prepared anew, and a policy that is the base model."""
    from advantageflow.prompts import stage
    from advantageflow.prompts.initial_policy import write_base_policy

    policy = scratch / "base"
    prompts = judged.run.prompts() if judged.run else None
    if prompts is not None:
        write_base_policy(policy)
        return prompts, policy
    prompts = scratch / "prompts"
    stage.run(
        settings.prompts, settings.model, settings.reward, settings.seed,
        init_policy=None, prompts_out=prompts, conditioning_out=conditioning_folder(prompts), policy_out=policy,
    )  # fmt: skip
    return prompts, policy


class _Told(Journal):
    """A journal that keeps nothing and passes progress on."""

    def __init__(self, name: str, progress: Progress) -> None:
        super().__init__()
        self._name, self._tell = name, progress

    def progress(self, done: int, total: int, unit: str) -> None:
        self._tell(self._name, done, total)

    def alarm(self, name: str, message: str, step: int) -> None:
        """The results have it too."""
