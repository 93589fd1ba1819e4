"""The last task of a run on a cluster as a Kubeflow component: its inputs, no logic."""

from kfp import dsl

from advantageflow.image import default_image


@dsl.component(base_image=default_image("evaluation"), install_kfp_package=False)
def closing(status: dsl.PipelineTaskFinalStatus) -> None:
    """End the run in MLflow with the status that it has in Kubeflow."""
    from advantageflow.tracking.pipeline_run import close_pipeline_run

    close_pipeline_run(status.state, status.error_message)
