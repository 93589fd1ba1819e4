"""The process in which Kubeflow runs a pipeline here: `python -m advantageflow_pipelines.local.kfp_process RUN OWNER`.

A process of its own, as Kubeflow's local runner prints on standard output, replaces `print` and the root logger while
it runs, and cannot be interrupted: its owner (a process id) sends its output to a log file and ends it as a whole.
"""

import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kfp import compiler, local

from advantageflow.annotations import DockerClient
from advantageflow.processes import end_with_parent
from advantageflow_pipelines.local.runners import container_engine, read_runner
from advantageflow_pipelines.local.workdir import WorkDir, open_workdir
from advantageflow_pipelines.pipelines.building import build_pipeline


def main() -> None:
    """Run the pipeline of the working folder that the command line names; exit status 1 when a task failed."""
    end_with_parent(int(sys.argv[2]), signal.SIGTERM)
    try:
        run_pipeline(open_workdir(Path(sys.argv[1])))
    except RuntimeError as error:  # says which task failed; a traceback through Kubeflow says no more
        sys.exit(str(error))


def run_pipeline(workdir: WorkDir) -> None:
    """Write the run's pipeline to its working folder and run it there, task by task, each in a process of its own, or
    in a container of its own where the run's runner says so.
    Raises RuntimeError: a task failed; its own error is in the journal or the log.

    Kubeflow's cache records the outputs of tasks that succeeded, by what went into them: started again, the pipeline
    passes over those and does the rest.
    """
    images = read_runner(workdir).images
    pipeline = build_pipeline(workdir.settings, images)
    compiler.Compiler().compile(pipeline, str(workdir.pipeline_file))
    # Kubeflow guesses from its name whether an image holds Python.
    warnings.filterwarnings("ignore", message=".*non-Python base image")
    local.init(
        _in_containers(workdir) if images else local.SubprocessRunner(use_venv=False),
        pipeline_root=str(workdir.artifacts),
        raise_on_error=True,
        enable_caching=True,
        cache_root=str(workdir.cache),
    )
    pipeline()


def _in_containers(workdir: WorkDir) -> local.DockerRunner:
    """Kubeflow's runner of containers, with a way of running one that loses no failure."""
    from kfp.local import docker_task_handler

    from advantageflow_pipelines.local.containers import container_arguments

    docker_task_handler.run_docker_container = run_container
    with container_engine() as client:
        return local.DockerRunner(**container_arguments(client, workdir))


def run_container(
    client: DockerClient, image: str, command: Sequence[str], volumes: dict[str, Any], **arguments: Any
) -> int:
    """Run a command in a container of its own; what Kubeflow's local runner is to use instead of its own function.

    That one has the engine remove a container as soon as it ends, and where it then comes too late to ask for its
    status takes it that the task succeeded: a failed stage would be recorded as complete.

    Returns:
        The exit status.
    """
    container = client.containers.run(image, list(command), volumes=volumes, detach=True, **arguments)
    try:
        for piece in container.logs(stream=True):
            print(piece.decode(errors="replace"), end="")
        return int(container.wait()["StatusCode"])
    finally:
        container.remove(force=True)


if __name__ == "__main__":
    main()
