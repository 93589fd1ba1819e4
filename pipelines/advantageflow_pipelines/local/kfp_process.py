"""The process in which Kubeflow runs a pipeline here: `python -m advantageflow_pipelines.local.kfp_process RUN OWNER`.

A process of its own, as Kubeflow's local runner prints on standard output, replaces `print` and the root logger while
it runs, and cannot be interrupted: its owner (a process id) sends its output to a log file and ends it as a whole.
"""

from __future__ import annotations

import signal
import sys
import warnings
from pathlib import Path

from kfp import compiler, local

from advantageflow.processes import end_with_parent
from advantageflow.settings import RunSettings
from advantageflow_pipelines.local.runners import images_of
from advantageflow_pipelines.local.workdir import WorkDir, open_workdir
from advantageflow_pipelines.pipelines.building import build_pipeline


def main() -> None:
    """Run the pipeline of the working folder that the command line names; exit status 1 when a task failed."""
    end_with_parent(int(sys.argv[2]), signal.SIGTERM)
    workdir, settings = open_workdir(Path(sys.argv[1]))
    try:
        run_pipeline(workdir, settings)
    except RuntimeError as error:  # says which task failed; a traceback through Kubeflow says no more
        sys.exit(str(error))


def run_pipeline(workdir: WorkDir, settings: RunSettings) -> None:
    """Write the run's pipeline to its working folder and run it there, task by task, each in a process of its own, or
    in a container of its own where the run's runner says so.

    Kubeflow's cache records the outputs of tasks that succeeded, by what went into them: started again, the pipeline
    passes over those and does the rest.

    Raises:
        RuntimeError: a task failed; its own error is in the journal or the log.
    """
    images = images_of(workdir)
    pipeline = build_pipeline(settings, images, in_order=True)
    compiler.Compiler().compile(pipeline, str(workdir.pipeline_file))
    # Kubeflow guesses from its name whether an image holds Python.
    warnings.filterwarnings("ignore", message=".*non-Python base image")
    local.init(
        local.SubprocessRunner(use_venv=False) if images is None else _in_containers(workdir, settings),
        pipeline_root=str(workdir.artifacts),
        raise_on_error=True,
        enable_caching=True,
        cache_root=str(workdir.cache),
    )
    pipeline()


def _in_containers(workdir: WorkDir, settings: RunSettings) -> local.DockerRunner:
    """Kubeflow's runner of containers, with a way of running one that loses no failure."""
    from kfp.local import docker_task_handler

    from advantageflow_pipelines.local.containers.arguments import container_arguments
    from advantageflow_pipelines.local.containers.engine import container_engine
    from advantageflow_pipelines.local.containers.execution import run_container

    docker_task_handler.run_docker_container = run_container
    with container_engine() as client:
        return local.DockerRunner(**container_arguments(client, workdir, settings))


if __name__ == "__main__":
    main()
