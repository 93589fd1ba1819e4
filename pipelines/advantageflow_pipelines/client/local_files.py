"""Files that settings name: what is on this machine alone cannot be seen by a cluster."""

from __future__ import annotations

from pathlib import Path

from advantageflow.errors import SettingsError
from advantageflow.prompts.sources import is_local_file
from advantageflow.settings import RunSettings
from advantageflow.store.s3 import is_s3

_PATH_STARTS = ("/", "./", "../", "~")


def check_no_local_files(settings: RunSettings) -> list[str]:
    """Check that a cluster can read all that a run reads.

    An absolute path that is not on this machine is taken to be in the stages' images.

    Returns:
        Those paths, each with its setting.

    Raises:
        SettingsError: a setting names a file of this machine, or a relative path; names it.
    """
    in_images = []
    for setting, name in _paths(settings).items():
        path = Path(name).expanduser()
        if path.exists() or not path.is_absolute():
            message = f"{name} is a path of this machine, which a cluster does not see"
            raise SettingsError(message, where=setting, remedy=_remedy(setting))
        in_images.append(f"{setting}: {name}")
    return in_images


def _paths(settings: RunSettings) -> dict[str, str]:
    """Settings that name a file or folder, and no address."""
    named = {
        "reward.golden": settings.reward.golden,
        "init_policy": settings.init_policy,
    }
    paths = {setting: name for setting, name in named.items() if name is not None and not is_s3(name)}
    if is_local_file(settings.prompts.source):
        paths["prompts.source"] = settings.prompts.source
    model = settings.model.name
    if model.startswith(_PATH_STARTS) or (Path(model).is_dir() and model != "shapes"):
        paths["model.name"] = model
    return paths


def _remedy(setting: str) -> str:
    if setting == "init_policy":
        return "publish it (advantageflow publish FOLDER s3://bucket/prefix), and give that address"
    if setting == "reward.golden":
        return "put the file into the reward image, and give its absolute path there"
    return (
        "upload it and give its address (s3://bucket/key), or put it into the images and give its absolute path there"
    )
