"""What runs the tasks of a local run: this process, processes, or containers, of whose engine and images all is asked
here; the run's folder remembers which.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from advantageflow.annotations import DockerClient
from advantageflow.errors import SettingsError, StoreError, UserError
from advantageflow.objectives.registry import BUILT_IN as OBJECTIVES
from advantageflow.rewards.plumbing.registry import BUILT_IN as REWARDS
from advantageflow.settings import RunSettings
from advantageflow.store.files import read_json, write_json
from advantageflow_pipelines.local.workdir import WorkDir
from advantageflow_pipelines.pipelines import pipeline_of

WORKDIR_LABEL = "advantageflow.workdir"

_DEFAULT_SOCKET = "unix:///var/run/docker.sock"
_SECONDS_TO_ANSWER = 300  # an engine that builds an image meanwhile lets others wait
_BUILD = "build them with docker/build.sh, fetch them with `docker pull`, or name others with --images FILE"


class RunnerKind(StrEnum):
    """This process, or the runners of Kubeflow's local execution."""

    INLINE = "inline"
    SUBPROCESS = "subprocess"
    DOCKER = "docker"


class Runner(NamedTuple):
    """What runs the tasks of a run."""

    kind: RunnerKind
    images: Mapping[str, str] = {}  # of the stages' containers; empty where there are none


def check_images(images: Mapping[str, str], settings: RunSettings) -> dict[str, str]:
    """The stages' images by the names that the engine knows them by, after a look at all that they need.
    Raises ContainerError: no engine answers, or images, or rewards or the objective in them, are missing.
    """
    with container_engine() as client:
        known = find_images(client, images)
        check_own(client, known, settings)
    return known


def choose_runner(settings: RunSettings, asked: RunnerKind | None) -> RunnerKind:
    """The runner that was asked for; else this process, where the run's pipeline has a form for it.
    Raises SettingsError: this process was asked for, and there is no such form.
    """
    inline = pipeline_of(settings).inline is not None
    if asked is RunnerKind.INLINE and not inline:
        message = f"pipeline '{settings.pipeline}' has no form for one process"
        raise SettingsError(message, where="--runner inline", remedy="use --runner subprocess, or give it one")
    return asked or (RunnerKind.INLINE if inline else RunnerKind.SUBPROCESS)


def write_runner(workdir: WorkDir, runner: Runner) -> None:
    """Remember what runs a run's tasks; images are part of what Kubeflow's cache knows a task by."""
    write_json(workdir.runner_file, runner._asdict())


def read_runner(workdir: WorkDir) -> Runner:
    """What runs a run's tasks: processes, where nothing is remembered.
    Raises SettingsError: the file that says so is damaged.
    """
    if not workdir.runner_file.exists():
        return Runner(RunnerKind.SUBPROCESS)
    try:
        found = read_json(workdir.runner_file)
        return Runner(RunnerKind(found["kind"]), dict(found["images"]))
    except (LookupError, TypeError, ValueError, StoreError) as error:
        remedy = 'write {"kind": "inline", "images": {}} into it; of a run in containers "docker" and the images'
        raise SettingsError("is damaged", where=str(workdir.runner_file), remedy=remedy) from error


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
