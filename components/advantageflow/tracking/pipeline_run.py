"""The MLflow run of a whole pipeline run on a cluster: tasks that know nothing of each other find it by its tag."""

from __future__ import annotations

PIPELINE_RUN_ENV = "ADVANTAGEFLOW_PIPELINE_RUN_ID"  # the Kubeflow run
PRESET_ENV = "ADVANTAGEFLOW_PRESET"
PIPELINE_RUN_TAG = "kfp.pipeline_run_id"  # as Kubeflow's own plug-in for MLflow names it
