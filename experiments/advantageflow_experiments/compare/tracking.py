"""A comparison in MLflow: its runs tagged by variant, and a run of its own that holds curves, table and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from advantageflow.tracking.mlflow_store import experiment_id, open_client, tracking_errors
from advantageflow.tracking.recorder import log_params, log_path
from advantageflow_experiments.compare.cells import cell_name
from advantageflow_experiments.compare.folder import Folder
from advantageflow_experiments.compare.records import Comparison, VariantResult
from advantageflow_pipelines.local.tracking import tracking_uri
from advantageflow_pipelines.local.workdir import WorkDir

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric


def publish(comparison: Comparison, folder: Folder, files: Sequence[Path]) -> None:
    """Record a complete comparison in the store and experiment that its runs are in.

    Every run gets the tags `comparison`, `variant` and `seed`. One more run, named after the comparison, holds each
    variant's mean accuracy (metric `accuracy/<variant>`, the step is the number of images), its final figures, and
    `files`; done again, it is renewed.

    Args:
        comparison: what was found.
        folder: where it lies.
        files: table, pictures and comparison.json.

    Raises:
        TrackingError: MLflow failed.
    """
    uri = tracking_uri(WorkDir(folder.root), folder.runs)
    client = open_client(uri)
    home = experiment_id(client, uri, comparison.name)
    with tracking_errors(uri):
        _tag_runs(client, home, comparison, folder)
        run_id = _own_run(client, home, comparison, folder)
        log_params(client, run_id, {"title": comparison.title, "preset": comparison.preset,
                                    "seeds": list(comparison.seeds), "view": comparison.view})  # fmt: skip
        for variant in comparison.variants:
            client.log_batch(run_id, metrics=_metrics(variant))
        for file in files:
            log_path(client, run_id, file, None)
        client.set_terminated(run_id)


def _tag_runs(client: MlflowClient, home: str, comparison: Comparison, folder: Folder) -> None:
    for cell in comparison.cells:
        root = folder.runs / cell_name(cell.variant, cell.seed)
        for run in _runs_of(client, home, root):
            tags = {"comparison": folder.root.name, "variant": cell.variant, "seed": str(cell.seed)}
            for name, value in tags.items():
                client.set_tag(run, name, value)


def _own_run(client: MlflowClient, home: str, comparison: Comparison, folder: Folder) -> str:
    """The comparison's run, of an earlier time or a new one."""
    found = _runs_of(client, home, folder.root)
    if found:
        return found[0]
    tags = {"comparison": folder.root.name, "workdir": str(folder.root), "mlflow.note.content": comparison.title}
    run = client.create_run(home, tags=tags | comparison.versions, run_name=f"comparison {folder.root.name}")
    return str(run.info.run_id)


def _runs_of(client: MlflowClient, home: str, root: Path) -> list[str]:
    """Ids of the runs that are recorded with this folder."""
    return [str(run.info.run_id) for run in client.search_runs([home], f'tags.workdir = "{root}"')]


def _metrics(variant: VariantResult) -> list[Metric]:
    import time

    from mlflow.entities import Metric

    now = int(1000 * time.time())
    curve = [
        Metric(f"accuracy/{variant.name}", point.accuracy.mean, now, round(point.x)) for point in variant.by_images
    ]
    low, high = variant.final.ci95 or (None, None)
    final = {
        "strict": variant.final.mean,
        "strict_low": low,
        "strict_high": high,
        "soft": variant.soft.mean,
        "difference": variant.difference.mean if variant.difference else None,
        "course": variant.course.mean,
        "course_difference": variant.course_difference.mean if variant.course_difference else None,
        "training_seconds": variant.training_seconds.mean if variant.training_seconds else None,
        "diverged": float(len(variant.diverged)),
    }
    return curve + [
        Metric(f"final/{variant.name}/{name}", value, now, 0) for name, value in final.items() if value is not None
    ]
