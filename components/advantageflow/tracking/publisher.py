"""Publishing a run to MLflow from its journals, in the process that started it."""

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from advantageflow.errors import TrackingError
from advantageflow.shown import first_line
from advantageflow.tracking import mlflow_store
from advantageflow.tracking.events import Event
from advantageflow.tracking.pipeline_run import Earlier
from advantageflow.tracking.promotion import Conclusion, conclude
from advantageflow.tracking.provenance import origin_tags
from advantageflow.tracking.recorder import Recorder
from advantageflow.tracking.registration import Judged
from advantageflow.tracking.ui import NAME_TAG

_FAILURES_IN_A_ROW = 3  # then the store is taken to be gone, and the rest is left unpublished

logger = logging.getLogger(__name__)


class Publisher:
    """The MLflow run of one pipeline run. Raises TrackingError: the store cannot be opened.

    Use it from one thread at a time: `consume(tail(folder, stop))` in a thread while the run goes on, then, when that
    has ended, `artifact` and `close`. A failing store never stops the run: `close` tells at the end.

    Args:
        tracking_uri: MLflow's store, for example sqlite_uri(path).
        experiment: created if need be.
        tags: for example seed and preset; provenance is added.
        run_id: the parent to resume; MLFLOW_RUN_ID when None; a new run when neither is given.
        started: epoch seconds at which the run began; now if None.
        opened: told the parent's id as soon as there is one.
    """

    def __init__(
        self,
        tracking_uri: str,
        experiment: str,
        run_name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        *,
        run_id: str | None = None,
        started: float | None = None,
        opened: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._tracking_uri = tracking_uri
        self._failures: list[Exception] = []
        self._in_a_row = 0
        self._last = time.time()  # of the events
        self._client = mlflow_store.open_client(tracking_uri)
        run_id = run_id or os.environ.get(mlflow_store.RUN_ENV)
        tags = origin_tags() | {NAME_TAG: run_name} | dict(tags)
        with mlflow_store.tracking_errors(tracking_uri):
            if run_id:
                self.run_id = run_id
                self._client.update_run(run_id, status="RUNNING")
                for name, value in tags.items():
                    self._client.set_tag(run_id, name, value)
            else:
                experiment = mlflow_store.experiment_id(self._client, tracking_uri, experiment)
                began = None if started is None else int(1000 * started)
                self.run_id = str(self._client.create_run(experiment, began, tags, run_name).info.run_id)
            opened(self.run_id)
            mlflow_store.log_settings(self._client, self.run_id, params)
            home = self._client.get_run(self.run_id).info.experiment_id
            earlier = Earlier(self._client, self.run_id) if run_id else None
        self._recorder = Recorder(self._client, str(home), self.run_id, earlier=earlier)

    def consume(self, events: Iterable[Event]) -> None:
        """Publish events as they come, until they end; failures are kept for `close`.

        Of a run that is resumed give all events: those that MLflow has are passed over.
        """
        for event in events:
            self._last = event["time"]
            if self._recorder.takes(event) and not self._try(self._recorder.record, event):
                self._recorder.missed(event)

    def unfinished(self) -> list[Path]:
        """Working folders of the other runs of the experiment that have not ended there; none while MLflow is away."""
        query = "attributes.status = 'RUNNING' AND tags.workdir != ''"
        try:
            runs = self._client.search_runs([self._recorder.experiment_id], query)
        except Exception as error:
            logger.warning("MLflow: %s", first_line(error))
            return []
        return [Path(run.data.tags["workdir"]) for run in runs if run.info.run_id != self.run_id]

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a file or folder with the parent run."""
        self._try(mlflow_store.log_path, self._client, self.run_id, path, folder)

    def conclude(self, name: str, what: Judged) -> Conclusion:
        """As `promotion.conclude`, for this run."""
        with mlflow_store.tracking_errors(self._tracking_uri):
            run = self._client.get_run(self.run_id)
        return conclude(self._client, run, name, what)

    def close(self, status: str = "FINISHED") -> None:
        """End the parent run, as 'FINISHED', 'FAILED' or 'KILLED'.
        Raises TrackingError: something could not be published.
        """
        self._try(self._recorder.finish)
        self._try(self._client.set_terminated, self.run_id, status, int(1000 * self._last))
        if self._failures:
            count, first = len(self._failures), first_line(self._failures[0])
            raise TrackingError(
                f"MLflow did not take {count} record(s) of this run; the first: {first}",
                where=self._tracking_uri,
                remedy="the run's results are complete in its working folder; check the store and its disk, then give "
                "it what is missing with: advantageflow sync RUN",
            ) from self._failures[0]

    def _try(self, write: Callable[..., None], *arguments: Any) -> bool:
        """Whether MLflow took a record."""
        if self._in_a_row >= _FAILURES_IN_A_ROW:
            return False
        try:
            write(*arguments)
            self._in_a_row = 0
            return True
        except Exception as error:  # a record that fails must not cost the run
            logger.warning("MLflow: %s", first_line(error))
            self._failures.append(error)
            self._in_a_row += 1
            return False
