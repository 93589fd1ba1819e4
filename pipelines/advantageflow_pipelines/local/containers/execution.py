"""How the container of a task is run: its output passed on, its status known, nothing of it left behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docker.client import DockerClient


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
