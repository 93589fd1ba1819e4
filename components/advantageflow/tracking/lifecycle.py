"""A pipeline's run in MLflow, from its first task, which opens it, to its end as in Kubeflow.

Its last task ends it, or a task of a retry, or others later. What nobody could close, the first and the last task of
later runs do: runs that were cancelled or retried, and those that a cluster gave up.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from advantageflow.annotations import MlflowClient, Run
from advantageflow.errors import SettingsError, TrackingError
from advantageflow.parameters import with_parameters
from advantageflow.settings import RunSettings, Settings
from advantageflow.tracking import pipeline_run
from advantageflow.tracking.events import TRACKING_ENV
from advantageflow.tracking.kubeflow import CANCELED, CANCELING, ask_state, mlflow_status
from advantageflow.tracking.mlflow_store import RUN_ENV, log_settings, open_client, patiently, tracking_errors
from advantageflow.tracking.ui import NAME_TAG, mlflow_address, run_title

_NO_PAGE = "This run has no page in MLflow: `MLFLOW_TRACKING_URI` is not set, or MLflow did not answer.\n"
_SECONDS = 10.0  # for all questions of `heal` together
_QUESTIONS = 20


def on_pipeline_run(work: Callable[[MlflowClient, str, str], str], warning: str) -> None:
    """Do something with the MLflow run of this process's pipeline run, and heal those of others; for a pipeline's own
    first and last task. A failure is told, with what it means (`warning`), never raised.

    `work` takes client, tracking URI and pipeline run, and gives what to say of it; it is done again while MLflow is
    away.
    """
    tracking_uri, pipeline = os.environ.get(TRACKING_ENV), os.environ.get(pipeline_run.PIPELINE_RUN_ENV)
    if not tracking_uri or not pipeline:
        return

    def work_and_heal() -> None:
        client = open_client(tracking_uri)
        with tracking_errors(tracking_uri):
            said = work(client, tracking_uri, pipeline)
        for line in (said, *heal(client, {}, ask_state)):
            print(f"MLflow: {line}", file=sys.stderr, flush=True)

    try:
        patiently(work_and_heal)
    except TrackingError as error:
        print(f"warning: {warning}. {error}", file=sys.stderr, flush=True)


def close_pipeline_run(state: str | None, message: str | None, first_run: str = "", *, goes_on: bool = False) -> None:
    """End a pipeline's run with its final status, from the task that Kubeflow runs last whatever happened before.

    Kubeflow gives that task COMPLETE after success, FAILED after a stage's own error, and RUNNING where a container was
    killed, where its API server was away as a task ended, and where the run is being cancelled.

    Where Kubeflow's plug-in opened the run, it also closes it. A failure is told, never raised.

    Args:
        state: of the pipeline, in Kubeflow's words.
        message: what failed, where Kubeflow says it.
        first_run: the pipeline run that this one continues; empty if none.
        goes_on: whether another one continues this one, if all went well and there was anything to do.
    """
    if os.environ.get(RUN_ENV):
        return
    finished = goes_on and mlflow_status(state or "") == "FINISHED"

    def work(client: MlflowClient, tracking_uri: str, pipeline: str) -> str:
        if finished and pipeline_run.find_pipeline_run(client, pipeline) is None:
            return "the run goes on in another pipeline run"
        # It is opened here if MLflow was away before.
        run = pipeline_run.find_or_open(client, tracking_uri, pipeline, {}, first_run)
        tasks = pipeline_run.last_attempts(client, run).values()
        status, known = _verdict(pipeline, state or "unknown", any(task.info.status == "FAILED" for task in tasks))
        pipeline_run.close(client, run, status, known, message)
        return f"this run is {status}"

    on_pipeline_run(work, "the run stays open in MLflow")


def _verdict(pipeline: str, state: str, any_failed: bool) -> tuple[str, str]:
    """MLflow's status, and the state of Kubeflow's by which it is known.

    Where that decides nothing and the API server cannot be asked, the state is kept as it is, so that others ask later.
    """
    status = mlflow_status(state)
    if status == "FINISHED":
        return ("FAILED" if any_failed else status), state
    asked = ask_state(pipeline)
    if status == "KILLED" or asked in (CANCELING, CANCELED):
        return "KILLED", CANCELED
    return "FAILED", ("FAILED" if asked or status == "FAILED" else state)


def settle_again(client: MlflowClient, run_id: str, task: str) -> None:
    """After a task's end: end the pipeline's run if it was closed before, as the closing task comes only once.

    That is so where a person has Kubeflow retry a run that failed: it remakes what failed, without the closing task.
    """
    run = client.get_run(run_id)
    if pipeline_run.FINAL_STATE_TAG not in run.data.tags:
        return
    attempts = pipeline_run.last_attempts(client, run)
    if attempts[task].info.status == "FAILED":
        pipeline_run.close(client, run, "FAILED", "FAILED")
        return
    all_finished = all(one.info.status == "FINISHED" for one in attempts.values())
    if all_finished and run.data.tags.get(pipeline_run.LAST_TASK_TAG) in attempts:
        pipeline_run.close(client, run, "FINISHED", "SUCCEEDED")


def heal(client: MlflowClient, known: Mapping[str, str], ask: Callable[[str], str | None]) -> list[str]:
    """Give the newest pipeline runs in MLflow the status that their state in Kubeflow means; tells what was changed.
    Raises TrackingError: MLflow cannot be read or written.

    Args:
        known: true states of pipeline runs by their id.
        ask: gives the true state of another one, None where it cannot; asked only of runs that are open or whose end
            is in doubt, at most 20 times and no longer than 10 seconds.
    """
    deadline, questions, healed = time.monotonic() + _SECONDS, 0, []
    with tracking_errors(client.tracking_uri):
        for run in pipeline_run.newest_pipeline_runs(client):
            pipeline = run.data.tags[pipeline_run.PIPELINE_RUN_TAG]
            state = known.get(pipeline)
            if state is None and _in_doubt(run) and questions < _QUESTIONS and time.monotonic() < deadline:
                questions += 1
                state = ask(pipeline)
            status = mlflow_status(state or "")
            if state is None or status is None or not (_in_doubt(run) or _told(run) != status):
                continue
            if run.info.status != status:
                was, name = run.info.status, run.info.run_name
                healed.append(f"'{name}' was {was} and is {status} now, as Kubeflow says {state}")
            pipeline_run.close(client, run, status, state)
    return healed


def _in_doubt(run: Run) -> bool:
    """Whether the run is open, or was closed by a state that decides nothing."""
    return run.info.status == "RUNNING" or _told(run) is None


def _told(run: Run) -> str | None:
    """The status by the state that the run was closed with: its own may be worse, where a stage's run says so."""
    return mlflow_status(run.data.tags.get(pipeline_run.FINAL_STATE_TAG, ""))


def settings_of_a_run(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run, all of them.

    They are given by place: a section as JSON ('rollout'), where what is at its default may be left out; a setting that
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

    title = os.environ.get(pipeline_run.NAME_ENV) or run_title(settings)
    given = {NAME_TAG: title, "mlflow.note.content": os.environ.get(pipeline_run.NOTE_ENV, "")}
    noted = {name: text for name, text in given.items() if text}

    def work(client: MlflowClient, tracking_uri: str, pipeline: str) -> str:
        tags = {"seed": str(settings["seed"]), pipeline_run.LAST_TASK_TAG: last_task, **noted}
        run = pipeline_run.find_or_open(client, tracking_uri, pipeline, tags, first_run)
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
