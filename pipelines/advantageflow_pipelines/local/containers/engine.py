"""The container engine of this machine: reaching it, finding images, ending containers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from advantageflow.errors import UserError

if TYPE_CHECKING:
    from docker.client import DockerClient

WORKDIR_LABEL = "advantageflow.workdir"

_DEFAULT_SOCKET = "unix:///var/run/docker.sock"
_SECONDS_TO_ANSWER = 300  # an engine that builds an image meanwhile lets others wait
_BUILD = "build them with docker/build.sh, fetch them with `docker pull`, or name others with --images FILE"


class ContainerError(UserError):
    """A container engine or an image that cannot be used."""


@contextmanager
def container_engine() -> Iterator[DockerClient]:
    """A client of the engine that DOCKER_HOST names, or of Docker's own socket.

    Raises:
        ContainerError: none answers there.
    """
    from docker.client import DockerClient
    from docker.errors import DockerException

    try:
        client = DockerClient.from_env(timeout=_SECONDS_TO_ANSWER)
    except (DockerException, OSError) as error:
        raise ContainerError(
            "no container engine answers",
            where=f"--runner docker ({os.environ.get('DOCKER_HOST') or _DEFAULT_SOCKET})",
            remedy="start Docker, or podman's service (`podman system service`) with its socket in DOCKER_HOST; "
            "or run without containers: --runner subprocess",
        ) from error
    try:
        yield client
    finally:
        client.close()


def find_images(client: DockerClient, images: Mapping[str, str]) -> dict[str, str]:
    """The same images, by the names that the engine knows them by (podman puts 'localhost/' before a short name).

    Raises:
        ContainerError: some are not on this machine; says which.
    """
    known = {stage: _known_as(client, image) for stage, image in images.items()}
    missing = dict.fromkeys(images[stage] for stage, name in known.items() if name is None)
    if missing:
        message = f"not on this machine: {', '.join(missing)}"
        raise ContainerError(message, where="images of the stages", remedy=_BUILD)
    return {stage: name for stage, name in known.items() if name is not None}


def end_containers(client: DockerClient, workdir: Path) -> None:
    """End the containers that run in a working folder."""
    from docker.errors import APIError

    for container in client.containers.list(all=True, filters={"label": f"{WORKDIR_LABEL}={workdir}"}):
        with suppress(APIError):  # it ended by itself meanwhile
            container.remove(force=True)


def _known_as(client: DockerClient, image: str) -> str | None:
    from docker.errors import ImageNotFound

    try:
        found = client.images.get(image)
    except ImageNotFound:
        return None
    names = [*found.tags, *found.attrs.get("RepoDigests", ())]
    return image if image in names else next((name for name in names if name.endswith(f"/{image}")), image)
