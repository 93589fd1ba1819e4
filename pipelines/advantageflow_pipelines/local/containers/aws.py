"""What boto3 finds on this machine, variables and files, for the containers of a run to find as well."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from advantageflow.store.s3_client import ADDRESSING_ENV

FOLDER = "/tmp/.aws"  # noqa: S108 - in a container: the home folder of the images is /tmp, see docker/Dockerfile

_PREFIX = "AWS_"
_NAMED_BY = ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CA_BUNDLE")


def aws_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that say how S3 is reached; files that they name are absolute."""
    found = {
        name: value
        for name, value in environment.items()
        if value and (name.startswith(_PREFIX) or name == ADDRESSING_ENV)
    }
    return found | {name: str(Path(found[name]).expanduser().absolute()) for name in _NAMED_BY if name in found}


def aws_files(environment: Mapping[str, str], copies: Path, owner: int | None) -> dict[str, Path]:
    """The configuration and credentials of this machine, by the place where a container looks for them.

    Args:
        environment: of `aws_environment`.
        copies: folder for copies of what the owner may not read; the owner alone may read them.
        owner: number of the user that containers run as; None where that is who starts the run.
    """
    named = {environment[name]: Path(environment[name]) for name in _NAMED_BY if name in environment}
    there = {target: source for target, source in ({FOLDER: Path.home() / ".aws"} | named).items() if source.exists()}
    if owner is None:
        return there
    return {
        target: source if _is_open(source) else _copy(source, copies / str(number), owner)
        for number, (target, source) in enumerate(there.items())
    }


def forget_copies(copies: Path) -> None:
    """Remove the copies of `aws_files`, if there are any."""
    shutil.rmtree(copies, ignore_errors=True)


def _is_open(source: Path) -> bool:
    """Whether everybody may read a file, or all of a folder."""
    needed = {True: stat.S_IROTH | stat.S_IXOTH, False: stat.S_IROTH}
    return all(path.stat().st_mode & needed[path.is_dir()] == needed[path.is_dir()] for path in _all_of(source))


def _copy(source: Path, copy: Path, owner: int) -> Path:
    copy.parent.mkdir(mode=0o700, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, copy)
    else:
        shutil.copyfile(source, copy)
    for path in (copy.parent, *_all_of(copy)):
        path.chmod(0o500 if path.is_dir() else 0o400)
        os.chown(path, owner, owner)
    return copy


def _all_of(path: Path) -> Iterator[Path]:
    yield path
    yield from path.rglob("*")
