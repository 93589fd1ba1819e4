"""What an earlier attempt brought of a run to MLflow: so that it can be brought there again, and nothing twice."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

MISSING_TAG = "advantageflow.missing"  # of a task's run: MLflow did not take all of it
_RUNS_IN_A_PAGE = 1000
_ENDS = ("FINISHED", "FAILED")


class Earlier:
    """The records that a run in MLflow has already.

    Args:
        client: MLflow client.
        experiment_id: of the run.
        run_id: of the whole run.
    """

    def __init__(self, client: MlflowClient, experiment_id: str, run_id: str) -> None:
        self._client, self._run_id = client, run_id
        self._points: dict[str, set[int]] = {}
        self._tasks = {run.data.tags["task"]: run for run in self._children(experiment_id) if "task" in run.data.tags}

    def run_of(self, task: str) -> str | None:
        """The id of a task's run; None where it has none."""
        found = self._tasks.get(task)
        return None if found is None else str(found.info.run_id)

    def has_all_of(self, task: str) -> bool:
        """Whether a task ended and nothing that it told is missing."""
        found = self._tasks.get(task)
        return found is not None and found.info.status in _ENDS and found.data.tags.get(MISSING_TAG) != "true"

    def has_point(self, name: str, step: int) -> bool:
        """Whether a curve of the whole run has a point there."""
        if name not in self._points:
            self._points[name] = {point.step for point in self._client.get_metric_history(self._run_id, name)}
        return step in self._points[name]

    def has_picture(self, key: str, step: int) -> bool:
        """Whether the whole run has a picture there; MLflow writes '~' for a slash in its file's name."""
        return any(name.startswith(f"images/{key.replace('/', '~')}+step+{step}+") for name in self._pictures)

    @cached_property
    def _pictures(self) -> list[str]:
        return [str(file.path) for file in self._client.list_artifacts(self._run_id, "images")]

    def _children(self, experiment_id: str) -> Iterator[Run]:
        query, token = f"tags.`mlflow.parentRunId` = '{self._run_id}'", None
        while True:
            page = self._client.search_runs([experiment_id], query, max_results=_RUNS_IN_A_PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return
