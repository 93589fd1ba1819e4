"""What `import advantageflow as af` offers: whole runs, and pictures, from Python or a notebook."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advantageflow.annotations import Image
from advantageflow.settings import EvaluationSettings, ModelSettings, RunSettings
from advantageflow_pipelines.configuration.checks import begin_run
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.local.policies import draw, find_policy
from advantageflow_pipelines.local.runners import RunnerKind
from advantageflow_pipelines.local.tracking import tracking_uri
from advantageflow_pipelines.local.workdir import DEFAULT_RUNS, WorkDir, conditioning_folder, read_report
from advantageflow_pipelines.say import Console


@dataclass(frozen=True)
class Evaluated:
    """An evaluation of a run, as soon as it is done."""

    round_index: int  # after which round; 0: of the base model
    metrics: dict[str, Any]  # what it came to: 'strict', 'soft', 'tasks' and more, as in metrics.json
    report: Path  # its folder

    def pictures(self) -> Image:
        """Its samples, the same prompts and noise every time, right ones in a green frame."""
        from PIL import Image

        from advantageflow.evaluation.pictures import sample_sheet

        with tempfile.TemporaryDirectory(prefix="advantageflow-") as folder:
            sample_sheet({"": self.report}, Path(folder) / "picture.png", columns=6)
            with Image.open(Path(folder) / "picture.png") as picture:
                return picture.convert("RGB")


@dataclass(frozen=True)
class Run:
    """A complete run."""

    folder: Path  # its working folder
    settings: RunSettings  # of it
    summary: dict[str, Any]  # as in summary.json
    policy: Path  # the folder of its last policy
    prompts: Path  # of its prompts
    conditioning: Path  # of what conditions the model for them

    def pictures(self) -> Image:
        """Base and tuned model side by side."""
        from PIL import Image

        from advantageflow_pipelines.local.summary import SHEET_FILE

        return Image.open(WorkDir(self.folder).report / SHEET_FILE)


def run(
    settings: RunSettings | str | Path = "shapes",
    *changes: str,
    workdir: Path | str | None = None,
    runs: Path = DEFAULT_RUNS,
    watch: Callable[[Evaluated], None] = lambda evaluated: None,
) -> Run:
    """Run a pipeline in this process, showing how far it is.

    Args:
        settings: of the run, the name of a preset, or a YAML file.
        changes: of single settings, as 'rollout.group_size=16'; not of settings that are given as such.
        workdir: new folder for what the run makes; in `runs` if None.
        runs: folder of the runs and of their MLflow store.
        watch: called with each evaluation when it is done, in a thread beside the run.

    Raises:
        SettingsError: says which settings are wrong.
        RunFailed: a stage failed; says why.
        NothingToDo: a retraining has nothing new to train on; says why.
    """
    from advantageflow_pipelines.local.run import run_locally

    if not isinstance(settings, RunSettings):
        file = Path(settings) if str(settings).endswith((".yaml", ".yml")) else None
        preset = None if file else str(settings)
        settings = choose_settings(preset=preset, config=file, assignments=changes)
    lora_asked = any(change.startswith("training.lora") for change in changes)
    folder = None if workdir is None else Path(workdir)
    place = begin_run(settings, RunnerKind.INLINE, runs, folder, lora_asked=lora_asked)

    def evaluated(number: int, report: Path) -> None:
        watch(Evaluated(number, read_report(report), report))

    summary = run_locally(place, console=Console(), tracking_uri=tracking_uri(place, runs), on_report=evaluated)
    policies, prompts = place.policies(), place.prompts()
    assert prompts is not None
    last = policies[max(policies)]
    return Run(place.root, place.settings, summary, last, prompts, conditioning_folder(prompts))


def generate(
    texts: Sequence[str],
    policy: Path | str | None = None,
    *,
    model: ModelSettings | None = None,
    seed: int = 0,
    **sampling: Any,
) -> list[Image]:
    """A picture of each text.
    Raises PolicyError: the model or the policy cannot be loaded, or what they make is not finite.

    Args:
        texts: what the pictures show.
        policy: that draws: a run's working folder, a policy, an adapter, or where one is published or registered; None:
            the base model.
        model: the base model, where the policy does not say it; None: the embedded one.
        seed: of the first picture's noise; each next one has the next.
        **sampling: steps, guidance_scale and more of EvaluationSettings, instead of those of the policy's run.
    """
    found = None if policy is None else find_policy(str(policy))
    base = model or (found.model if found else None) or ModelSettings()
    how = (found.settings.evaluation if found else EvaluationSettings()).model_dump() | sampling
    return draw(base, found.path if found else None, texts, seed, EvaluationSettings.model_validate(how))
