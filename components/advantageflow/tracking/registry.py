"""Policies in MLflow's registry: `models:/NAME@alias` or `models:/NAME/VERSION`, copied to this machine."""

import hashlib
import os
import re
import shutil
from pathlib import Path

from advantageflow import records
from advantageflow.annotations import MlflowClient, ModelVersion
from advantageflow.errors import PolicyError, SettingsError
from advantageflow.store.files import publish, write_json
from advantageflow.store.policies import read_policy_state
from advantageflow.store.published import local_folder
from advantageflow.store.s3 import cache_folder
from advantageflow.tracking.events import TRACKING_ENV
from advantageflow.tracking.mlflow_store import open_client, tracking_errors

REGISTRY = "models:/"
CHAMPION = "champion"  # alias of the version that is in use, and that the next retraining has to beat
_LOGGED_MODEL = "models:/m-"
_ADDRESS = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))")
_POLICY_FILES = (records.STATE_FILE, "adapter_config.json", "pytorch_lora_weights.safetensors")


def is_registered(name: str) -> bool:
    """Whether a name is an address of MLflow's registry."""
    return name.startswith(REGISTRY)


def alias_of(client: MlflowClient, name: str, alias: str) -> str | None:
    """The version that an alias of a registered model names; None where there is none."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_model_version_by_alias(name, alias).version)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None


def local_policy(name: str, tracking_uri: str | None = None) -> Path:
    """The folder or file that a person names: in MLflow's registry, published at an s3:// address or in a folder, or
    just there.

    Args:
        name: `models:/NAME@alias`, `models:/NAME/VERSION`, `s3://bucket/prefix` or a path.
        tracking_uri: the MLflow store that has the registry; MLFLOW_TRACKING_URI if None.

    Raises:
        SettingsError: the address is not one; which MLflow is meant is not said.
        TrackingError: MLflow cannot be reached, or has no such version.
        PolicyError: the version holds no adapter.
        StoreError: as `local_folder`.
    """
    if not is_registered(name):
        return local_folder(name)
    return _policy_in(_download(*_version(name, tracking_uri or os.environ.get(TRACKING_ENV))), name)


def _version(address: str, tracking_uri: str | None) -> tuple[MlflowClient, ModelVersion]:
    parts = _ADDRESS.fullmatch(address)
    if parts is None:
        raise SettingsError(
            "is not a version of a registered model", where=address, remedy="write models:/NAME@ALIAS or models:/NAME/3"
        )
    if tracking_uri is None:
        remedy = f"set {TRACKING_ENV}"
        raise SettingsError("which MLflow has the model is not said", where=address, remedy=remedy)
    client = open_client(tracking_uri)
    with tracking_errors(f"{tracking_uri}, {address}"):
        if parts["alias"]:
            return client, client.get_model_version_by_alias(parts["name"], parts["alias"])
        return client, client.get_model_version(parts["name"], parts["version"])


def registry_copies() -> Path:
    """Where copies of registered versions are kept, a folder for each below that of its model."""
    return cache_folder() / "registry"


def _download(client: MlflowClient, version: ModelVersion) -> Path:
    """The version's files, in the cache folder; a version never changes, so what is there is not fetched again."""
    import mlflow.artifacts

    tracking_uri = client.tracking_uri
    told = f"{tracking_uri} {version.name} {version.version} {version.creation_timestamp} {version.source}"
    store = hashlib.sha256(told.encode()).hexdigest()[:12]
    folder = registry_copies() / version.name / f"{version.version}-{store}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with publish(folder) as partial, tracking_errors(tracking_uri):
            source = client.get_model_version_download_uri(version.name, version.version)
            if source.startswith(_LOGGED_MODEL):  # what MLflow's own log_model registers
                source = client.get_logged_model(source.removeprefix(REGISTRY)).artifact_location
            mlflow.artifacts.download_artifacts(source, dst_path=str(partial), tracking_uri=tracking_uri)
            _complete(partial, version)
    return folder


def _complete(folder: Path, version: ModelVersion) -> None:
    """Put beside a policy's files what a run that starts from them needs to know."""
    found = next(iter(sorted(folder.rglob(records.STATE_FILE))), None)
    if found is None:
        return
    policy = found.parent
    write_json(policy / records.REGISTERED_FILE, {"address": f"{REGISTRY}{version.name}/{version.version}"})
    for known in folder.rglob(records.KNOWN_PROMPTS_FILE):
        known.replace(policy / records.KNOWN_PROMPTS_FILE)
    if not (policy / records.ROLLOUT_ADAPTER_FOLDER).is_dir():  # registered by a task that had the policy alone
        shutil.copytree(policy / records.ADAPTER_FOLDER, policy / records.ROLLOUT_ADAPTER_FOLDER)
        state = read_policy_state(policy)
        state.model_copy(update={"rollout_policy_sha256": state.policy_sha256}).write(policy)


def _policy_in(folder: Path, address: str) -> Path:
    """The folder nearest to the top that holds a policy, or else an adapter."""
    for name in _POLICY_FILES:
        found = sorted(folder.rglob(name), key=lambda path: (len(path.parts), path))
        if found:
            return found[0].parent
    remedy = "register a policy: the folder that training wrote, or its adapter"
    raise PolicyError("the registered version holds no policy", where=address, remedy=remedy)
