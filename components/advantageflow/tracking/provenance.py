"""Where a run comes from: code revision, package versions, Python and machine."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ("advantageflow", "torch", "diffusers", "transformers", "peft", "kfp", "mlflow")


def provenance() -> dict[str, str]:
    """Tags that say what made a run; a package that is not installed and a missing git revision are left out."""
    tags = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            tags[f"version.{package}"] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return tags | _git_tags()


def _git_tags() -> dict[str, str]:
    """The revision of this source tree under MLflow's own tag name, and whether it has uncommitted changes."""
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return {}
    return {"mlflow.source.git.commit": commit, "git.dirty": str(bool(_git("status", "--porcelain"))).lower()}


def _git(*arguments: str) -> str:
    source = Path(__file__).resolve().parent
    command = ["git", "-C", str(source), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
