"""The last task of a run on a cluster as a Kubeflow component: its inputs, no logic."""

from kfp import dsl

from advantageflow.component import stage_component


@stage_component("evaluation")
def closing(status: dsl.PipelineTaskFinalStatus, nodes: int) -> None:
    """End what the run left on nodes, and the run in MLflow with the status that it has in Kubeflow."""
    from advantageflow.tracking.pipeline_run import close_pipeline_run
    from advantageflow.training.trainjob.leftovers import remove_left_jobs

    try:
        if nodes > 1:
            remove_left_jobs()
    finally:
        close_pipeline_run(status.state, status.error_message)
