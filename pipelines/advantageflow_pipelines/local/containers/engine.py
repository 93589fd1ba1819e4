"""The container engine of this machine: reaching it, finding images and what is in them, ending containers."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from advantageflow.annotations import DockerClient
from advantageflow.errors import UserError
from advantageflow.objectives.registry import BUILT_IN as OBJECTIVES
from advantageflow.rewards.plumbing.registry import BUILT_IN as REWARDS
from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines import pipeline_of

WORKDIR_LABEL = "advantageflow.workdir"

_DEFAULT_SOCKET = "unix:///var/run/docker.sock"
_SECONDS_TO_ANSWER = 300  # an engine that builds an image meanwhile lets others wait
_BUILD = "build them with docker/build.sh, fetch them with `docker pull`, or name others with --images FILE"


class ContainerError(UserError):
    """A container engine or an image that cannot be used."""


@contextmanager
def container_engine() -> Iterator[DockerClient]:
    """A client of the engine that DOCKER_HOST names, or of Docker's own socket.
    Raises ContainerError: none answers there.
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
    Raises ContainerError: some are not on this machine; says which.
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


_MAKE = """
import json, sys
from advantageflow.errors import UserError
from advantageflow.problems import SectionError
rewards, objective = json.loads(sys.argv[1])
try:
    if rewards:
        from advantageflow.rewards.plumbing.registry import get_reward
        for name, options in rewards.items():
            get_reward(name, options)
    if objective:
        from advantageflow.objectives.registry import make_objective
        make_objective(objective)
except UserError as error:
    sys.exit(f"{error.where}: {error.message}")
except SectionError as error:
    sys.exit(str(error))
"""


def check_own(client: DockerClient, images: Mapping[str, str], settings: RunSettings) -> None:
    """Check that the images that score have the rewards, and the one that trains the objective, that are not built in.
    Raises ContainerError: an image lacks one.

    The folder in which the run is started is not in the images: what is one's own must be installed in them.
    """
    from docker.errors import ContainerError as Failed

    terms = (*settings.reward.terms, *settings.reward.watched)
    own = {term.name: term.options for term in terms if term.name not in REWARDS}
    objective = settings.training.objective
    trained = {} if objective.name in OBJECTIVES else objective.model_dump(mode="json")
    kinds = {(images[one.name], one.rewards != "none", one.over_nodes): None for one in pipeline_of(settings).stages}
    for image, scores, trains in kinds:
        told = own if scores else {}, trained if trains else {}
        if not any(told):
            continue
        try:
            command = ["python3", "-c", _MAKE, json.dumps(told)]
            client.containers.run(image, command, remove=True, network_mode="none")
        except Failed as failure:
            what = f"objective {objective.name}" if told[1] else f"reward {', '.join(own)}"
            last = failure.stderr.decode(errors="replace").strip().splitlines()[-1:]
            message = f"{what} cannot be made there{': ' if last else ''}{''.join(last)}"
            remedy = (
                "containers do not see your own modules: install their package in an image that is made FROM this one, "
                "and name that with --images FILE; or use --runner subprocess"
            )
            raise ContainerError(message, where=image, remedy=remedy) from failure
