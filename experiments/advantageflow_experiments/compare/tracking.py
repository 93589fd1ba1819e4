"""A comparison in MLflow: its runs tagged by variant, and a run of its own that holds curves, table and pictures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from advantageflow.tracking.mlflow_store import experiment_id, log_params, open_client, tracking_errors
from advantageflow_experiments.compare.cells import cell_name
from advantageflow_experiments.compare.comparison import Comparison, final, useful_seconds
from advantageflow_experiments.compare.folder import Folder
from advantageflow_pipelines.local.tracking import tracking_uri
from advantageflow_pipelines.local.workdir import WorkDir

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric


def publish(comparison: Comparison, folder: Folder, files: Sequence[Path]) -> None:
    """Record a complete comparison in the store and experiment that its runs are in.

    Every run gets the tags `comparison`, `variant` and `seed`. One more run, named after the comparison, holds each
    variant's mean accuracy (metric `accuracy/<variant>`, the step is the number of images), its final figures, and
    `files` (table, pictures, comparison.json); done again, it is renewed.

    Raises:
        TrackingError: MLflow failed.
    """
    uri, name = tracking_uri(WorkDir(folder.root), folder.runs), folder.root.name
    client = open_client(uri)
    home = experiment_id(client, uri, comparison.name)
    with tracking_errors(uri):
        for cell in comparison.cells:
            tags = {"comparison": name, "variant": cell.variant, "seed": str(cell.seed)}
            for run in _runs_of(client, home, folder.runs / cell_name(cell.variant, cell.seed)):
                for tag, value in tags.items():
                    client.set_tag(run, tag, value)
        own = _own_run(client, home, comparison, folder.root)
        plan = comparison.plan
        log_params(client, own, {"title": plan.title, "preset": plan.preset, "seeds": list(plan.seeds)})
        for variant in comparison.labels:
            client.log_batch(own, metrics=_metrics(comparison, variant))
        for file in files:
            client.log_artifact(own, str(file))
        client.set_terminated(own)


def _own_run(client: MlflowClient, home: str, comparison: Comparison, root: Path) -> str:
    """The comparison's run, of an earlier time or a new one."""
    found = _runs_of(client, home, root)
    if found:
        return found[0]
    tags = {"comparison": root.name, "workdir": str(root), "mlflow.note.content": comparison.plan.title}
    run = client.create_run(home, tags=tags | comparison.versions, run_name=f"comparison {root.name}")
    return str(run.info.run_id)


def _runs_of(client: MlflowClient, home: str, root: Path) -> list[str]:
    """Ids of the runs that are recorded with this folder."""
    return [str(run.info.run_id) for run in client.search_runs([home], f'tags.workdir = "{root}"')]


def _metrics(comparison: Comparison, variant: str) -> list[Metric]:
    from mlflow.entities import Metric

    ended = comparison.over(variant, final)
    low, high = (ended and ended.ci95) or (None, None)
    means = {
        "strict": ended,
        "soft": comparison.over(variant, lambda run: run.last.soft),
        "difference": comparison.against(variant, final),
        "course": comparison.over(variant, comparison.course),
        "course_difference": comparison.against(variant, comparison.course),
        "training_seconds": comparison.over(variant, useful_seconds),
    }
    told = {name: None if one is None else one.mean for name, one in means.items()}
    told |= {"strict_low": low, "strict_high": high, "diverged": len(comparison.diverged(variant))}
    now = int(1000 * time.time())
    curve = comparison.curve(variant, "by_images")
    return [
        *(Metric(f"accuracy/{variant}", one.accuracy.mean, now, round(one.x)) for one in curve),
        *(Metric(f"final/{variant}/{name}", value, now, 0) for name, value in told.items() if value is not None),
    ]
