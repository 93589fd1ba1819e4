"""Naming a policy: a run (its last one), an artifact, a published or registered one, another's adapter; drawing."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from advantageflow.annotations import Image
from advantageflow.errors import PolicyError
from advantageflow.policy.loading import load_family
from advantageflow.policy.location import INDEX
from advantageflow.prompts.initial_policy import artifact_of, find_initial, write_foreign
from advantageflow.settings import EvaluationSettings, ModelSettings, RunSettings
from advantageflow.store.policies import PolicyState, read_policy_state
from advantageflow.store.published import is_address
from advantageflow.tracking.registry import is_registered, local_policy
from advantageflow_pipelines.local.summary import read_summary
from advantageflow_pipelines.local.tracking import existing_store
from advantageflow_pipelines.local.workdir import DEFAULT_RUNS, WorkDir, open_workdir


@dataclass(frozen=True)
class FoundPolicy:
    """What a person named."""

    name: str  # what to call it
    path: Path  # the policy artifact, or the file or folder of an adapter that another program made
    state: PolicyState | None = None  # of the policy artifact; None of another program's adapter
    run: WorkDir | None = None  # its run, where a working folder was named

    @property
    def model(self) -> ModelSettings | None:
        """The base model, if known."""
        return self.run.settings.model if self.run else self.state.model if self.state else None

    @property
    def settings(self) -> RunSettings:
        """Those of its run; else as far as its state tells them, and the defaults."""
        if self.run:
            return self.run.settings
        known = {"reward": self.state.reward, "prompts": self.state.prompts} if self.state else {}
        return RunSettings().model_copy(update={**known, "model": self.model or ModelSettings()})

    def trained_state(self) -> PolicyState:
        """The state of a policy that was trained.
        Raises PolicyError: it is the base model itself, or an adapter without a record.
        """
        if self.state is None:
            remedy = "start a run from it (advantageflow run --init-policy), and take that"
            message = "this adapter has no record of its model, prompts and reward"
            raise PolicyError(message, where=self.name, remedy=remedy)
        if not self.state.trained:
            raise PolicyError("this is the base model itself", where=self.name, remedy="give a policy that was trained")
        return self.state


def find_policy(name: str, runs: Path = DEFAULT_RUNS) -> FoundPolicy:
    """The policy that a name means.

    Args:
        name: a working folder, a policy artifact or its adapter, another program's adapter (folder or file), where one
            is published (s3:// or a folder), or `models:/NAME@alias`.
        runs: whose MLflow store has the registry, where MLFLOW_TRACKING_URI names none.

    Raises:
        PolicyError: there is nothing of the kind; the run has made no policy yet.
        SettingsError: the working folder's settings are damaged; the address is wrong.
        StoreError: nothing is published at the address, or it cannot be fetched.
        TrackingError: the registry cannot be read.
    """
    path = local_policy(name, existing_store(runs) if is_registered(name) else None)
    if (path / "settings.yaml").is_file():
        workdir = open_workdir(path)
        policies = workdir.policies()
        if not policies:
            registered = (read_summary(workdir) or {}).get("registered")
            message = "the run's policy was removed" if registered else "the run has made no policy yet"
            remedy = f"take {registered}" if registered else f"continue it with: advantageflow run --resume {path}"
            raise PolicyError(message, where=name, remedy=remedy)
        last = max(policies)
        if last < workdir.settings.rounds and read_summary(workdir):
            message = f"the policy after round {workdir.settings.rounds}, its last, is missing or damaged"
            raise PolicyError(message, where=name, remedy=f"make it again: advantageflow run --resume {path}")
        state = read_policy_state(policies[last])
        return FoundPolicy(f"{workdir.root.name} after round {last}", policies[last], state, workdir)
    if (path / INDEX).is_file():
        remedy = f"generate --base-model {name} draws with it, and --set model.name={name} trains it"
        raise PolicyError("is a whole model, as `export --fused` writes, not a policy", where=name, remedy=remedy)
    artifact = artifact_of(path)
    if artifact is not None:
        state = read_policy_state(artifact)
        return FoundPolicy(f"policy {name} after round {state.round}", artifact, state)
    from advantageflow.policy.foreign import find_adapter  # heavy, and seldom wanted

    if not path.exists() or find_adapter(path) is None:
        raise PolicyError("no policy is there", where=name, remedy=_REMEDY)
    return FoundPolicy(f"adapter {name}", path)


_REMEDY = (
    "give the working folder of a run, a policy folder (it holds state.json), an adapter of PEFT, diffusers or kohya's "
    "layout, or where a policy is published or registered"
)


@contextmanager
def policy_artifact(path: Path | None, model: ModelSettings) -> Iterator[Path | None]:
    """The policy artifact at a path of FoundPolicy, for as long as the block lasts: an adapter of another program is
    made one for this base model. None, the base model, stays None.
    Raises PolicyError: the adapter cannot be used with the model.
    """
    if path is None or artifact_of(path) is not None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="advantageflow-policy-") as folder:
        _, _, adapter = find_initial(path, model)
        if adapter is not None:
            write_foreign(adapter, model, Path(folder) / "policy", {}, {}, str(path))
        yield Path(folder) / "policy"


def with_initial_policy(settings: RunSettings, runs: Path, *, lora_asked: bool) -> tuple[RunSettings, str]:
    """Settings that say what a run starts from, and train the adapter that it has.

    `lora_asked`: whether a person asked for training.lora, and not a preset.

    Returns:
        Settings with the policy's own place, and training.lora its adapter's; and what is taken, in words.

    Raises:
        SettingsError: the policy's adapter has another rank, alpha or targets than a person asked for.
        UserError: as `find_policy` and `find_initial`.
    """
    from advantageflow.policy.saved import other_lora, whole

    found = find_policy(str(settings.init_policy), runs)
    lora, words, _ = find_initial(found.path, settings.model)
    if not is_address(str(settings.init_policy)):  # which the task can fetch, and remember, itself
        settings = settings.model_copy(update={"init_policy": str(found.path.absolute())})
    wanted = whole(settings.training.lora, load_family(settings.model))
    if lora is not None and wanted != lora:
        if lora_asked:
            raise other_lora(lora, wanted, found.path)
        training = settings.training.model_copy(update={"lora": lora})
        settings = settings.model_copy(update={"training": training})
        words = f"{words}; training.lora is set to these"
    return settings, f"starts from {found.name}: {words}"


def draw(
    model: ModelSettings, policy: Path | None, texts: Sequence[str], seed: int, sampling: EvaluationSettings
) -> list[Image]:
    """A picture of each text, in batches of `sampling.batch`; each one's noise has the next seed.
    Raises PolicyError: the model or its policy cannot be loaded, or what they make is not finite.
    """
    from PIL import Image

    from advantageflow.policy.generate import draw_texts

    with policy_artifact(policy, model) as artifact:
        pictures = draw_texts(model, artifact, texts, [seed + row for row in range(len(texts))], sampling)
    return [Image.fromarray(picture) for picture in pictures]
