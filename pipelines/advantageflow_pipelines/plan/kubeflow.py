"""What a planned run would take of Kubeflow, and whether it could finish there."""

from __future__ import annotations

from advantageflow.errors import SettingsError
from advantageflow.settings import RunSettings
from advantageflow_pipelines.client.fit import check_fits
from advantageflow_pipelines.client.footprint import Footprint, footprint
from advantageflow_pipelines.pipelines import pipeline_of
from advantageflow_pipelines.placing.cluster import cluster_run
from advantageflow_pipelines.placing.images import default_images


def on_kubeflow(settings: RunSettings) -> tuple[Footprint | None, list[str]]:
    """Its footprint with the resources that suit it, and what speaks against it, each with a remedy.

    The footprint is None where the settings fit no such resources. A run on one machine needs nothing of this.
    """
    try:
        run = cluster_run(settings, default_images(pipeline_of(settings)), None)
    except SettingsError as error:
        return None, [f"on Kubeflow: {error.message}; {error.remedy}"]
    taken = footprint(run.package())
    try:
        warning = check_fits(run, taken)
    except SettingsError as error:
        return taken, [f"{error.message}; {error.remedy}"]
    return taken, [f"on Kubeflow, {warning}"] if warning else []
