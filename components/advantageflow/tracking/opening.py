"""The first task of a pipeline run on a cluster: it opens the run in MLflow, which later tasks find by its tag."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from advantageflow.errors import SettingsError
from advantageflow.parameters import with_parameters
from advantageflow.settings import RunSettings, Settings
from advantageflow.tracking.closing import on_pipeline_run
from advantageflow.tracking.mlflow_store import log_settings
from advantageflow.tracking.pipeline_run import LAST_TASK_TAG, NAME_ENV, NOTE_ENV, find_or_open
from advantageflow.tracking.ui import NAME_TAG, mlflow_address, run_title

if TYPE_CHECKING:
    from mlflow import MlflowClient

_NO_PAGE = "This run has no page in MLflow: `MLFLOW_TRACKING_URI` is not set, or MLflow did not answer.\n"


def settings_of_a_run(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run, all of them.

    Args:
        given: by place: a section as JSON ('rollout'), where what is at its default may be left out; a setting that
            holds instead of the section's own ('rollout.group_size'); a setting of no section ('seed').
    """
    sections: dict[str, Any] = {name: value for name, value in given.items() if "." not in name}
    for name, text in sections.items():
        kind: Any = RunSettings.model_fields[name].annotation
        if not (isinstance(kind, type) and issubclass(kind, Settings)):
            continue
        shown = {place.rpartition(".")[2]: v for place, v in given.items() if place.startswith(f"{name}.")}
        try:
            sections[name] = with_parameters(kind.model_validate_json(text), shown).model_dump(mode="json")
        except (SettingsError, ValidationError):  # the stage that reads it says what is wrong
            sections[name] = json.loads(text)
    return sections


def open_pipeline_run(
    settings: Mapping[str, Any], last_task: str, first_run: str = "", page: Path | None = None
) -> None:
    """Open the MLflow run of this process's pipeline run, or find the one that Kubeflow's plug-in opened.

    Also closes the runs of earlier pipeline runs that nobody could close. A store that stays away costs a warning: the
    closing task opens the run then.

    Args:
        settings: of the run, as `settings_of_a_run` gives them; they become its parameters, and the seed a tag.
        last_task: name, as `recorder.run_name` gives it, of the task whose end is the end of the pipeline's work.
        first_run: the pipeline run that this one continues; empty if none.
        page: Markdown file to write, with a link to the run in MLflow.
    """
    _write(page, _NO_PAGE)

    title = os.environ.get(NAME_ENV) or run_title(settings)
    given = {NAME_TAG: title, "mlflow.note.content": os.environ.get(NOTE_ENV, "")}
    noted = {name: text for name, text in given.items() if text}

    def work(client: MlflowClient, tracking_uri: str, pipeline: str) -> str:
        tags = {"seed": str(settings["seed"]), LAST_TASK_TAG: last_task, **noted}
        run = find_or_open(client, tracking_uri, pipeline, tags, first_run)
        log_settings(client, run.info.run_id, {name: value for name, value in settings.items() if value != ""})
        address = mlflow_address(tracking_uri, run.info.experiment_id, run.info.run_id)
        if address:
            _write(page, f"Curves, pictures and results of this run: [in MLflow]({address})\n")
        return address or str(run.info.run_id)

    on_pipeline_run(work, "this run is not in MLflow yet")


def _write(page: Path | None, text: str) -> None:
    if page is not None:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text, encoding="utf-8")
