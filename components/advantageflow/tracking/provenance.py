"""Where a run comes from: code revision, package versions, Python and machine."""

import getpass
import hashlib
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from advantageflow import __version__

REVISION_ENV = "ADVANTAGEFLOW_REVISION"  # in an image: the revision it was built from, '-dirty' if that was changed
_KEPT = ("version.advantageflow", "git.dirty", "lock.sha256")
_LOCK = "requirements.lock"
PACKAGES = ("torch", "diffusers", "transformers", "peft", "kfp", "mlflow")


def provenance() -> dict[str, str]:
    """Tags that say what made a run; a package that is not installed and a missing git revision are left out."""
    tags = {"python": platform.python_version(), "platform": platform.platform(), "version.advantageflow": __version__}
    for package in PACKAGES:
        try:
            tags[f"version.{package}"] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return tags | _lock_tag() | _git_tags()


def _lock_tag() -> dict[str, str]:
    """Hash of the file that pins the packages, in the source tree or in an image."""
    above = Path(__file__).resolve().parents
    places = (above[3] / "docker" / "requirements", Path("/opt/packages"))
    found = next((place / _LOCK for place in places if (place / _LOCK).is_file()), None)
    return {} if found is None else {"lock.sha256": hashlib.sha256(found.read_bytes()).hexdigest()}


def origin_tags() -> dict[str, str]:
    """Tags of a run: MLflow's own for its user, source and revision, this package's version, and the others as one."""
    made_by = provenance()
    versions = [f"{n.removeprefix('version.')} {v}" for n, v in made_by.items() if n.startswith("version.")]
    kept = {name: value for name, value in made_by.items() if name in _KEPT or name.startswith("mlflow.")}
    return kept | {
        "mlflow.user": _user(),
        "mlflow.source.name": " ".join(["advantageflow", *sys.argv[1:2]]),
        "mlflow.source.type": "LOCAL",
        "versions": ", ".join([*versions, f"Python {made_by['python']}", made_by["platform"]]),
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())


def _git_tags() -> dict[str, str]:
    """The revision of this source tree under MLflow's own tag name, and whether it has uncommitted changes."""
    if revision := os.environ.get(REVISION_ENV):
        commit, dirty = revision.removesuffix("-dirty"), revision.endswith("-dirty")
    else:
        commit, dirty = _git("rev-parse", "HEAD"), bool(_git("status", "--porcelain"))
    return {"mlflow.source.git.commit": commit, "git.dirty": str(dirty).lower()} if commit else {}


def _git(*arguments: str) -> str:
    source = Path(__file__).resolve().parent
    command = ["git", "-C", str(source), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603 - a list of arguments, without a shell
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
