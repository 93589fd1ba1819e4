"""What nobody needs any more: artifacts of old runs, folders of a store, versions that a gate kept from promotion."""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from advantageflow.annotations import MlflowClient, ModelVersion
from advantageflow.errors import StoreError, UserError
from advantageflow.store.files import writing
from advantageflow.store.published import join, kept_in, remove_kept
from advantageflow.tracking.champion import LOG_SUFFIX, reigns
from advantageflow.tracking.mlflow_store import tracking_errors
from advantageflow.tracking.promotion import PROMOTION_TAG
from advantageflow.tracking.registry import registry_copies
from advantageflow_pipelines.local.summary import read_summary
from advantageflow_pipelines.local.workdir import WorkDir, locked

_MOST = 10_000
_DAY = 86_400
_DIGITS = 12  # of a policy's hash in its address


@dataclass(frozen=True)
class Garbage:
    """Something to remove."""

    what: str  # for a person
    size: int  # bytes
    why: str  # nobody needs it
    remove: Callable[[], None]  # does it


def registered_versions(client: MlflowClient) -> list[ModelVersion]:
    """The versions of all registered models, without the logs of champions."""
    with tracking_errors(client.tracking_uri):
        names = [model.name for model in client.search_registered_models(max_results=1000)]
        of_one = [client.search_model_versions(f"name = '{n}'", max_results=_MOST) for n in names]
    return [version for versions in of_one for version in versions if not version.name.endswith(LOG_SUFFIX)]


def old_runs(runs: Path, newest: int, days: float, registered: set[str]) -> Iterator[Garbage]:
    """Artifacts of runs that are neither among the newest nor recent (a run that goes on is); their reports stay, and
    policies of which the registry has no hash.
    """
    found = sorted(runs.glob("*/settings.yaml"), key=lambda path: path.stat().st_mtime, reverse=True)
    for file in found[newest:]:
        workdir = WorkDir(file.parent.absolute())
        if _age(_changed(workdir)) <= days:
            continue
        needed = _needed(workdir, registered)
        folders = [path for path in workdir.artifacts.glob("*/*/*") if path.is_dir() and path not in needed]
        folders += [path for path in (workdir.cache,) if any(path.glob("*"))]
        if folders:
            why = f"{_age(_changed(workdir)):.0f} days old"
            yield Garbage(str(workdir.root), sum(map(_size, folders)), why, partial(_remove, workdir, folders))


def old_copies(days: float) -> Iterator[Garbage]:
    """Copies of registered versions in the user's cache folder, which are fetched again when they are wanted."""
    for folder in sorted(registry_copies().glob("*/*")):
        old = _age(folder.stat().st_mtime)
        if old > days:
            why = f"{old:.0f} days old, a copy of a registered version"
            yield Garbage(str(folder), _size(folder), why, partial(shutil.rmtree, folder))


def old_in_store(store: str, days: float, registered: set[str]) -> Iterator[Garbage]:
    """Folders of a store that are old, without the policies that are registered."""
    hashes = {sha256[:_DIGITS] for sha256 in registered}
    for kept in kept_in(store):
        name = kept.path.rpartition("-")[2]
        if _age(kept.changed) > days and not (kept.path.startswith("policies/") and name in hashes):
            why = f"{_age(kept.changed):.0f} days old, and no registered policy"
            yield Garbage(join(store, kept.path), kept.size, why, partial(remove_kept, store, kept))


def rejected_versions(client: MlflowClient, versions: list[ModelVersion], days: float) -> Iterator[Garbage]:
    """Versions that a gate kept and that were never champion nor have an alias, with their files."""
    with tracking_errors(client.tracking_uri):
        names = {version.name for version in versions}
        needed = {(name, one.version) for name in names for one in reigns(client, name)}
        aliases = {name: client.get_registered_model(name).aliases.values() for name in names}
        needed |= {(name, str(version)) for name in names for version in aliases[name]}
    for version in versions:
        old = _age(version.creation_timestamp / 1000) > days
        if not old or version.tags.get(PROMOTION_TAG) != "kept" or (version.name, str(version.version)) in needed:
            continue
        what = f"models:/{version.name}/{version.version}"
        yield Garbage(what, 0, "kept from promotion", partial(_remove_version, client, version))


def _needed(workdir: WorkDir, registered: set[str]) -> set[Path]:
    """The reports of a run, and its last policy where the registry has not got it."""
    try:
        needed, policies = set(workdir.reports().values()), workdir.policies()
        summary = read_summary(workdir)
    except UserError:  # of an older version: nothing is known of it
        return set(workdir.artifacts.glob("*/*/*"))
    if summary is not None and policies and summary["policy_sha256"] not in registered:
        last = policies[max(policies)]
        needed |= {path for path in last.parent.iterdir() if path.is_dir()}
    return needed


def _remove(workdir: WorkDir, folders: list[Path]) -> None:
    with contextlib.suppress(StoreError), locked(workdir):  # a run that goes on keeps its files
        for folder in folders:
            with writing(folder):
                shutil.rmtree(folder)


def _remove_version(client: MlflowClient, version: ModelVersion) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with tracking_errors(client.tracking_uri):
        client.delete_model_version(version.name, version.version)
        get_artifact_repository(str(version.source), tracking_uri=client.tracking_uri).delete_artifacts()


def _changed(workdir: WorkDir) -> float:
    files = (workdir.settings_file, workdir.summary_file, workdir.attempts_file)
    return max(file.stat().st_mtime for file in files if file.exists())


def _age(epoch_seconds: float) -> float:
    """In days."""
    return (time.time() - epoch_seconds) / _DAY


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
