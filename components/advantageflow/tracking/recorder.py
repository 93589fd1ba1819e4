"""Turns journal events into MLflow records: a child run for each stage task, curves and pictures on their parent."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from advantageflow.annotations import MlflowClient
from advantageflow.tracking.events import Event
from advantageflow.tracking.mlflow_store import LONGEST_PARAM, log_params, log_path
from advantageflow.tracking.pipeline_run import MISSING_TAG, Earlier, pictures_run
from advantageflow.tracking.ui import NAME_TAG, RESULT_HEADING, metric_name, page_of_run, picture_key, taken, view_tags

_COSTS = ("seconds", "cpu_seconds", "peak_memory", "gpu_peak_memory", "bytes_read", "bytes_written")
_PROGRESS_SECONDS = 10.0  # between two writes of how far a task is
_LONGEST_NOTE = 6000  # characters of what a person wrote and the table by task; MLflow cuts all at 8,000
PROGRESS_TAG = "advantageflow.progress"
ERROR_FILE = "error.txt"


@dataclass
class _Task:
    """A stage task being recorded."""

    run_id: str
    start: Event
    created: bool  # its run was opened here, and so is closed here
    there: bool = False  # all of it, by an earlier attempt
    missing: bool = False  # MLflow did not take all of it
    progress_at: float = 0.0  # epoch seconds of the progress written last
    curves: set[str] = field(default_factory=set)  # by its own steps: a round's mean of one is the whole run's alone


class Recorder:
    """Writes the events of stage tasks to MLflow.

    Args:
        experiment_id: experiment of the children; the parent's.
        parent_id: run of the whole pipeline; None for a task that has none (its curves then stay with the task).
        task_run_id: a run opened by someone else for the one task to be recorded, instead of a new child.
        earlier: what MLflow has of the run already, which is not written again; give all events from its beginning.
    """

    def __init__(
        self,
        client: MlflowClient,
        experiment_id: str,
        parent_id: str | None,
        *,
        task_run_id: str | None = None,
        earlier: Earlier | None = None,
    ) -> None:
        self.experiment_id = experiment_id
        self.parent_id = parent_id
        self.last_run_id: str | None = None  # of the task that started last
        self._client = client
        self._task_run_id = task_run_id
        self._earlier = earlier
        self._tasks: dict[str, _Task] = {}
        self._warnings: list[str] = []
        self._pictures: str | None = None  # the run that holds them
        self._seconds: dict[tuple[str, int], float] = {}  # by stage and round, summed over shards, not yet written
        self._handlers: dict[str, Callable[[Event], None]] = {
            "start": self._start, "useful": self._useful, "progress": self._progress, "metrics": self._metrics,
            "image": self._image, "dataset": self._dataset, "artifact": self._artifact, "alarm": self._alarm,
            "result": self._result, "warning": self._warning, "end": self._end, "error": self._error,
        }  # fmt: skip

    def takes(self, event: Event) -> bool:
        """Whether MLflow has a place for the event: not for what follows a start that failed, nor for most progress."""
        task = self._tasks.get(event["task"])
        if task is not None and task.there:
            return event["event"] in ("warning", "end", "error")
        if event["event"] == "progress" and task is not None:
            return bool(event["time"] - task.progress_at >= _PROGRESS_SECONDS)
        return event["event"] in self._handlers and (event["event"] == "start" or task is not None)

    def record(self, event: Event) -> None:
        """Write one event that it takes."""
        self._handlers[event["event"]](event)

    def missed(self, event: Event) -> None:
        """Note that MLflow did not take an event: its task is to be brought there again."""
        if event["task"] in self._tasks:
            self._tasks[event["task"]].missing = True

    def finish(self) -> None:
        """Close the runs of tasks that never ended."""
        for task in self._tasks.values():
            self._terminate(task, "KILLED", time.time())
        self._tasks.clear()

    def _start(self, event: Event) -> None:
        if event["task"] in self._tasks:
            return
        if event["shard"] is None:
            self.write_seconds()  # the shards before it have ended
        self._tasks[event["task"]] = task = _Task(self._open_run(event), event, self._task_run_id is None)
        task.progress_at = event["time"]
        self.last_run_id = task.run_id
        task.there = self._earlier is not None and self._earlier.has_all_of(event["task"])
        if task.there:
            return
        # Its own settings under the name of its stage, as in a run's.
        named = {event["stage"] if name == "settings" else name: part for name, part in event["settings"].items()}
        log_params(self._client, task.run_id, named)

    def _open_run(self, event: Event) -> str:
        if self._task_run_id is not None:
            return self._task_run_id
        known = self._earlier.run_of(event["task"]) if self._earlier else None
        if known is not None:
            return known
        tags = {"stage": event["stage"], "task": event["task"]}
        tags |= {"round": str(event["round"])} if event["round"] is not None else {}
        tags |= {"shard": str(event["shard"])} if event["shard"] is not None else {}
        tags |= {"mlflow.parentRunId": self.parent_id} if self.parent_id else {}
        started = _milliseconds(event["process_started"])
        run = self._client.create_run(self.experiment_id, started, tags, run_name(event))
        return str(run.info.run_id)

    def _useful(self, event: Event) -> None:
        task = self._tasks[event["task"]]
        self._log(task.run_id, {"overhead_seconds": event["time"] - task.start["process_started"]}, 0, event)

    def _progress(self, event: Event) -> None:
        """A tag, which is written over: how far the task is matters to whoever follows it, and later to nobody."""
        task = self._tasks[event["task"]]
        task.progress_at = event["time"]
        self._client.set_tag(task.run_id, PROGRESS_TAG, f"{event['done']}/{event['total']} {event['unit']}")

    def _metrics(self, event: Event) -> None:
        task = self._tasks[event["task"]]
        step = event["step"] if event["step"] is not None else task.start["round"] or 0
        if not event["parent"]:
            task.curves.update(event["values"])
        own = {name: value for name, value in event["values"].items() if not event["parent"] or name not in task.curves}
        self._log(task.run_id, own, step, event)
        if event["parent"] and self.parent_id:
            new = {name: value for name, value in event["values"].items() if not self._has_point(name, step)}
            self._log(self.parent_id, new, step, event)

    def _image(self, event: Event) -> None:
        from PIL import Image

        if self._pictures is None:
            task = self._tasks[event["task"]].run_id
            self._pictures = pictures_run(self._client, self.experiment_id, self.parent_id) if self.parent_id else task
        key = picture_key(event["key"])
        if self._earlier is not None and self._earlier.has_picture(self._pictures, key, event["step"]):
            return
        with Image.open(event["path"]) as image:
            self._client.log_image(self._pictures, image, key=key, step=event["step"])

    def _both(self, event: Event) -> list[str]:
        """The whole run, if there is one, and the task's."""
        return [*filter(None, [self.parent_id]), self._tasks[event["task"]].run_id]

    def _dataset(self, event: Event) -> None:
        from mlflow.data.pandas_dataset import from_pandas
        from mlflow.entities import Dataset, DatasetInput, InputTag
        from mlflow.exceptions import MlflowException
        from pyarrow.parquet import ParquetFile

        frame = ParquetFile(event["path"]).read().to_pandas()
        described = from_pandas(frame, name="prompts").to_dict()
        source = {"source_type": "local", "source": json.dumps({"uri": event["path"]})}
        dataset = DatasetInput(Dataset(**described | source), [InputTag("mlflow.data.context", "training")])
        for run_id in self._both(event):
            for tries_left in (2, 1, 0):
                try:
                    self._client.log_inputs(run_id, [dataset])
                    break
                except MlflowException as error:  # another run told of the same prompts in this very moment
                    if not tries_left or "unique" not in str(error).lower():
                        raise

    def _artifact(self, event: Event) -> None:
        log_path(self._client, self._tasks[event["task"]].run_id, Path(event["path"]), event["folder"])

    def _alarm(self, event: Event) -> None:
        """A tag for each alarm with what it last said, and one that says that there are any, to search for."""
        for run_id in self._both(event):
            self._client.set_tag(run_id, "alarm", "true")
            tag = f"alarm.{taken(event['name'])}"
            self._client.set_tag(run_id, tag, f"round {event['step']}: {event['message']}"[:LONGEST_PARAM])

    def _result(self, event: Event) -> None:
        """The name of the whole run says its result, and its description has a table and pictures."""
        if self.parent_id is None:
            return
        parent = self._client.get_run(self.parent_id)
        name = parent.data.tags.get(NAME_TAG)
        if name and str(parent.info.run_name).startswith(name):  # a person may have given it another one
            self._client.update_run(self.parent_id, name=f"{name}: {event['text']}")
        head = parent.data.tags.get("mlflow.note.content", "").partition(RESULT_HEADING)[0]
        task = self._tasks[event["task"]].run_id
        pages = [("report", task, "artifacts/report/report.html")]
        pages += [("pictures by round", self._pictures, "model-metrics")] if self._pictures else []
        links = [f"[{what}]({page_of_run(self.experiment_id, run, tab)})" for what, run, tab in pages]
        told, _, table = event["note"].partition("\n\n")  # MLflow shows the first lines, and all when it is asked to
        if len(head) + len(table) > _LONGEST_NOTE:
            table = "By task: see the report."
        first = f"tags.`mlflow.parentRunId` = '{self.parent_id}' AND attributes.run_name = 'round 0 / evaluation'"
        before = [run.info.run_id for run in self._client.search_runs([self.experiment_id], first, max_results=1)]
        pictures = [f"![samples](get-artifact?path=report/samples.png&run_uuid={run})" for run in (*before, task)]
        shown = f"Before:\n\n{pictures[0]}\n\nAfter:\n\n{pictures[-1]}" if len(set(pictures)) > 1 else pictures[-1]
        note = f"{head}{RESULT_HEADING}{told} See {' and '.join(links)}.\n\n{table}\n\n{shown}"
        self._client.set_tag(self.parent_id, "mlflow.note.content", note)
        for tag, value in view_tags(metric_name(event["headline"])).items():
            self._client.set_experiment_tag(self.experiment_id, tag, value)

    def _warning(self, event: Event) -> None:
        self._warnings.append(event["message"])
        for run_id in self._both(event):
            self._client.set_tag(run_id, "warnings", "\n".join(self._warnings)[:LONGEST_PARAM])

    def _end(self, event: Event) -> None:
        task = self._tasks.pop(event["task"])
        if not task.there:
            self._log(task.run_id, {name: event[name] for name in _COSTS if name in event}, 0, event)
            self._terminate(task, "FINISHED", event["time"])
        stage, number = task.start["stage"], task.start["round"]
        if number is not None:  # MLflow compares runs by what was told first, which is to be an evaluation
            self._seconds[stage, number] = self._seconds.get((stage, number), 0.0) + event["seconds"]
        if task.start["shard"] is None:
            self.write_seconds()

    def _error(self, event: Event) -> None:
        task = self._tasks.pop(event["task"])
        if task.there:
            return
        text = "\n".join(filter(None, (event["where"], event["message"], event["remedy"], event["traceback"])))
        self._client.set_tag(task.run_id, "error", f"{event['kind']}: {event['message']}"[:LONGEST_PARAM])
        self._client.log_text(task.run_id, text, ERROR_FILE)
        self._terminate(task, "FAILED", event["time"])

    def write_seconds(self) -> None:
        """Write the curves of what rounds took, of shards that have ended since."""
        from mlflow.entities import Metric

        now = _milliseconds(time.time())
        seconds = [(f"time/{stage}", total, now, step) for (stage, step), total in self._seconds.items()]
        self._seconds.clear()
        curves = [Metric(*one) for one in seconds if not self._has_point(one[0], one[3])]
        if curves and self.parent_id:
            self._client.log_batch(self.parent_id, metrics=curves)

    def _has_point(self, name: str, step: int) -> bool:
        return self._earlier is not None and self._earlier.has_point(metric_name(name), step)

    def _log(self, run_id: str, values: Mapping[str, float], step: int, event: Event) -> None:
        from mlflow.entities import Metric

        when = _milliseconds(event["time"])
        metrics = [Metric(metric_name(name), value, when, step) for name, value in values.items()]
        if metrics:
            self._client.log_batch(run_id, metrics=metrics)

    def _terminate(self, task: _Task, status: str, when: float) -> None:
        if task.missing:
            self._client.set_tag(task.run_id, MISSING_TAG, "true")
        elif self._earlier is not None and self._earlier.run_of(task.start["task"]) and status != "KILLED":
            self._client.set_tag(task.run_id, MISSING_TAG, "false")
        if task.created:
            self._client.set_terminated(task.run_id, status, _milliseconds(when))


def run_name(start: Event) -> str:
    """A child run's name, such as 'round 3 / rollout 1'."""
    name = start["stage"] if start["shard"] is None else f"{start['stage']} {start['shard']}"
    return name if start["round"] is None else f"round {start['round']} / {name}"


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
