"""What the container of a task is given: the run's folders and files, environment, user, GPUs, and little else."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from advantageflow.annotations import DockerClient
from advantageflow.settings import RunSettings
from advantageflow.store.s3 import is_s3
from advantageflow.store.s3_client import ADDRESSING_ENV
from advantageflow.tracking.events import JOURNAL_ENV
from advantageflow_pipelines.configuration.choices import STORE, named_files
from advantageflow_pipelines.local.runners import WORKDIR_LABEL
from advantageflow_pipelines.local.workdir import WorkDir

CACHE = "/cache"
AWS_FOLDER = "/tmp/.aws"  # noqa: S108 - in a container: the home folder of the images is /tmp, see docker/Dockerfile

_PASSED_ON = (
    "CUDA_VISIBLE_DEVICES",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "HF_TOKEN",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "https_proxy",
    "http_proxy",
    "no_proxy",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
)
_UNLABELLED = ["label=disable"]  # SELinux keeps containers from folders that are not labelled for them
_AWS_FILES = ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CA_BUNDLE")
_NVIDIA_DRIVER = Path("/dev/nvidiactl")


def container_arguments(client: DockerClient, workdir: WorkDir) -> dict[str, Any]:
    """Keyword arguments with which the Docker SDK runs a task's container; the folders that it writes are made ready.

    The container sees the machine's network, so that addresses mean what they mean outside. Its own file system is
    read-only, as it is on a cluster. It runs as who starts the run, without any of root's capabilities, so that what it
    writes is theirs; under a rootless engine that user is root inside.
    """
    from docker.types import DeviceRequest, Mount

    information = client.info()
    security = information.get("SecurityOptions") or []
    rootless = bool(information.get("Rootless")) or any("rootless" in option for option in security)
    settings, written = workdir.settings, _folders_written(workdir)
    for folder in (workdir.artifacts, *written.values()):
        folder.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name in _names_passed_on(settings) if (value := os.environ.get(name))}
    aws = aws_environment(os.environ)
    read = {
        str(path): path
        for path in sorted(
            {
                *files_read(settings),
                *{Path(value) for value in environment.values() if value.startswith("/") and Path(value).exists()},
            }
        )
    }
    read |= aws_files(aws)
    return {
        "network_mode": "host",
        "environment": environment | aws | {JOURNAL_ENV: str(workdir.journal), "XDG_CACHE_HOME": CACHE},
        "labels": {WORKDIR_LABEL: str(workdir.root)},
        "mounts": [Mount(target, str(source), type="bind") for target, source in written.items()]
        + [Mount(target, str(source), type="bind", read_only=True) for target, source in read.items()],
        "user": "0:0" if rootless else f"{os.getuid()}:{os.getgid()}",
        "read_only": True,
        "tmpfs": {"/tmp": "mode=1777"},  # noqa: S108 - of a container, which is its own
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges", *(_UNLABELLED if any("selinux" in name for name in security) else ())],
        "shm_size": "1g",  # for processes that train together
        "device_requests": [DeviceRequest(count=-1, capabilities=[["gpu"]])] if _wants_gpus(settings) else [],
    }


def files_read(settings: RunSettings) -> set[Path]:
    """The files and folders of this machine that the settings name; absolute, as `with_absolute_paths` makes them."""
    named = named_files(settings).items()
    return {path for setting, path in named if setting != STORE and path.is_absolute() and os.path.exists(path)}


def cache_folder() -> Path:
    """Where containers of all runs keep what they fetched: models and prompts of the hub and of S3."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "advantageflow" / "containers"


def _folders_written(workdir: WorkDir) -> dict[str, Path]:
    """Folders of this machine that stages write to, by where they find them; Kubeflow mounts that of the artifacts."""
    folders = {str(workdir.journal): workdir.journal, CACHE: cache_folder()}
    url = workdir.settings.store.url
    return folders if url is None or is_s3(url) else folders | {url: Path(url)}


def aws_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that say how S3 is reached; files that they name are absolute."""
    told = [name for name in environment if name.startswith("AWS_") or name == ADDRESSING_ENV]
    found = {name: environment[name] for name in told if environment[name]}
    return found | {name: str(Path(found[name]).expanduser().absolute()) for name in _AWS_FILES if name in found}


def aws_files(environment: Mapping[str, str]) -> dict[str, Path]:
    """Configuration and credentials of this machine, by the place where boto3 looks for them in a container; takes what
    `aws_environment` gives.
    """
    named = {environment[name]: Path(environment[name]) for name in _AWS_FILES if name in environment}
    return {target: file for target, file in ({AWS_FOLDER: Path.home() / ".aws"} | named).items() if file.exists()}


def _names_passed_on(settings: RunSettings) -> Iterator[str]:
    """Names of environment variables that the stages read, among them those that rewards take their keys from."""
    yield from _PASSED_ON
    for term in (*settings.reward.terms, *settings.reward.watched):
        yield from (str(value) for name, value in term.options.items() if name.endswith("_env"))


def _wants_gpus(settings: RunSettings) -> bool:
    device = settings.model.device
    return device == "cuda" or (device == "auto" and _NVIDIA_DRIVER.exists())
