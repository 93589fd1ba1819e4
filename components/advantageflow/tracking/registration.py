"""Registering a policy: a version of a registered model in MLflow that loads, serves, and says where it comes from."""

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from platform import python_version
from typing import Any

from pydantic import BaseModel

from advantageflow.annotations import MlflowClient, ModelVersion, Run
from advantageflow.errors import PolicyError
from advantageflow.records import KNOWN_PROMPTS_FILE, METRICS_FILE
from advantageflow.settings import EvaluationSettings, ModelSettings
from advantageflow.shown import markdown
from advantageflow.store.files import read_json, write_json
from advantageflow.store.policies import PolicyState, read_policy_state
from advantageflow.tracking.events import read_events
from advantageflow.tracking.mlflow_store import tracking_errors
from advantageflow.tracking.pipeline_run import last_attempts

CANDIDATE = "candidate"  # alias of the version that was registered last
POLICY_TAG = "policy_sha256"
INPUTS_TAG = "inputs_sha256"
PARENT_TAG = "parent"  # models:/NAME/VERSION that its training started from
_PACKAGES = ("mlflow", "torch", "diffusers", "transformers", "peft", "safetensors", "pillow")
_PYTHON_FILE, _EXAMPLE_FILE = "python_env.yaml", "input_example.json"
_OF_THE_RUN = ("mlflow.source.git.commit", "git.dirty", "lock.sha256", "images", "version.advantageflow", "preset")
_LONGEST_TAG = 5000


class Judged(BaseModel):
    """A policy and how it was judged, as `Journal.policy` records it."""

    path: Path  # the artifact, all of which becomes the version's, so that training can go on from it
    sampling: EvaluationSettings  # of its run, and so of the version's pictures unless it is told otherwise
    seed: int
    before: Path  # report
    after: Path  # whose pictures and numbers become the version's
    prompts: Path
    decision: dict[str, Any] | None = None
    inputs_sha256: str = ""


def last_judged(journal: Path) -> Judged | None:
    """The policy that a folder's journals name last."""
    judged = [event for event in read_events(journal) if event["event"] == "policy"]
    return Judged.model_validate(judged[-1]) if judged else None


def register(client: MlflowClient, run: Run, name: str, what: Judged) -> ModelVersion:
    """Register a trained policy, as alias 'candidate' too; one that an earlier try registered is given as it is.

    The model stands in the experiment of the pipeline's run, takes its provenance, and its metrics stand at the run's
    task that evaluated it.

    Raises:
        PolicyError: it is the base model, or was trained on a model that is not known.
        TrackingError: MLflow refuses or is away; nothing is registered.
    """
    from mlflow.entities import LoggedModelOutput

    state = read_policy_state(what.path)
    if not state.trained or state.model is None:
        remedy = "register a policy that a run trained"
        raise PolicyError("this is the base model, or a policy without a record", where=str(what.path), remedy=remedy)
    metrics = [read_json(report / METRICS_FILE) for report in (what.before, what.after)]
    tags = _tags(run, state, what, metrics)
    with tracking_errors(client.tracking_uri):
        known = client.search_model_versions(f"name = '{name}' AND run_id = '{run.info.run_id}'")
    for one in known:
        if one.tags.get(POLICY_TAG) == state.policy_sha256:
            return one
    with tracking_errors(client.tracking_uri), _saved(state, what) as folder:
        logged = client.create_logged_model(
            run.info.experiment_id, f"{name}-{state.rounds}", run.info.run_id, tags, model_type="text-to-image"
        )
        client.log_model_artifacts(logged.model_id, str(folder))
        client.finalize_logged_model(logged.model_id, "READY")
        client.log_outputs(run.info.run_id, [LoggedModelOutput(logged.model_id, state.round)])
        _log_metrics(client, run, logged.model_id, metrics[-1]["round"])
        make_registered_model(client, name, "Policies of AdvantageFlow: adapters of a rectified-flow image model.")
        version = client.create_model_version(  # MLflow would look for models:/m-... in the store of the environment
            name, logged.artifact_location, run.info.run_id, tags,
            description=_description(state, metrics), model_id=logged.model_id,
        )  # fmt: skip
        client.set_registered_model_alias(name, CANDIDATE, version.version)
    return version


def make_registered_model(client: MlflowClient, name: str, description: str) -> None:
    """Create a registered model where it is not there yet."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, description=description)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


@contextlib.contextmanager
def _saved(state: PolicyState, what: Judged) -> Iterator[Path]:
    """The version's files, in a temporary folder: a model of MLflow's python_function, with a loader module.

    MLflow's save_model would write as much, after it has looked through the files of all installed packages.
    """
    from mlflow.models import Model
    from mlflow.pyfunc import add_to_model

    assert state.model is not None
    config = {"model": state.model.model_dump(mode="json"), "evaluation": what.sampling.model_dump(mode="json")}
    packages = [f"{package}=={metadata.version(package)}" for package in _PACKAGES]
    example = {"artifact_path": _EXAMPLE_FILE, "serving_input_path": _EXAMPLE_FILE, "type": "json_object"}
    with tempfile.TemporaryDirectory(prefix="advantageflow-registered-") as scratch:
        folder = Path(scratch)
        shutil.copytree(what.path, folder / "policy")
        shutil.copytree(what.after / "samples", folder / "samples")
        shutil.copyfile(what.prompts / KNOWN_PROMPTS_FILE, folder / KNOWN_PROMPTS_FILE)
        (folder / "requirements.txt").write_text("\n".join(packages), encoding="utf-8")
        write_json(folder / _PYTHON_FILE, {"python": python_version(), "dependencies": ["-r requirements.txt"]})
        write_json(folder / _EXAMPLE_FILE, {"inputs": ["a red circle"], "params": {"seed": 7}})
        described = Model(signature=_signature(what.sampling), saved_input_example_info=example | {"params": "true"})
        add_to_model(
            described, "advantageflow.policy.served", data="policy", python_env=_PYTHON_FILE, model_config=config
        )
        described.save(str(folder / "MLmodel"))
        yield folder


def _signature(sampling: EvaluationSettings) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    texts = Schema([ColSpec("string")])
    params = [
        ParamSpec("seed", "long", 0),
        ParamSpec("steps", "long", sampling.steps),
        ParamSpec("guidance_scale", "double", sampling.guidance_scale),
    ]
    return ModelSignature(texts, texts, ParamSchema(params))


def _tags(run: Run, state: PolicyState, what: Judged, metrics: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Where the version comes from."""
    made, judged, model = state.provenance, metrics[-1], state.model or ModelSettings()
    tags = {name: value for name, value in run.data.tags.items() if name.startswith(_OF_THE_RUN)}
    tags |= {
        POLICY_TAG: str(state.policy_sha256),
        "base": " ".join(filter(None, (model.name, model.revision))),
        "base_sha256": state.base_sha256 or "",
        "reward": ", ".join(f"{term.name}.{term.column}" for term in state.reward.terms),
        "reward_version": json.dumps(judged["reward_versions"]),
        "seed": str(what.seed),
        "rounds": str(state.rounds),
        PARENT_TAG: str(made.get("continued_from", {}).get("path", "")),
        INPUTS_TAG: what.inputs_sha256,
    }
    return {name: value[:_LONGEST_TAG] for name, value in tags.items() if value}


def _log_metrics(client: MlflowClient, run: Run, model_id: str, round_index: int) -> None:
    """The numbers of the round's evaluation as the model's own, under the names that they have at its task's run."""
    from mlflow.entities import Metric

    judged = last_attempts(client, run).get(f"round {round_index} / evaluation")
    if judged is None:
        return
    now, task = int(time.time() * 1000), judged.info.run_id
    wanted = {name: value for name, value in judged.data.metrics.items() if name.startswith("evaluation/")}
    told = [Metric(name, value, now, round_index, model_id, run_id=task) for name, value in wanted.items()]
    client.log_batch(task, metrics=told)


def _description(state: PolicyState, metrics: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: what it is, and a table of what it came to."""
    told = ", ".join(f"`{term.name}.{term.column}`" for term in state.reward.terms)
    lines = [f"{state.rounds} rounds, {state.step} optimiser steps on reward {told}."]
    before, after = metrics
    lines += ["", "| task | before | after |", "|---|---|---|"]
    tasks = {markdown(task): (before["tasks"][task], after["tasks"][task]) for task in after["tasks"]}
    lines += [f"| {task} | {old:.3f} | {new:.3f} |" for task, (old, new) in tasks.items()]
    lines += [f"| **mean of tasks** | {before['strict']:.3f} | **{after['strict']:.3f}** |"]
    return "\n".join(lines)
