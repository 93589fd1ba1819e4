"""The policy that a run starts from: the base model as it is, or a copy of an earlier run's policy."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from advantageflow.errors import PolicyError, StoreError
from advantageflow.records import ADAPTER_FOLDER, ROLLOUT_ADAPTER_FOLDER, STATE_FILE
from advantageflow.store.artifacts import publish, read_policy_state, read_tensors, write_json

_FILES = [f"{folder}/{name}" for folder in (ADAPTER_FOLDER, ROLLOUT_ADAPTER_FOLDER)
          for name in ("adapter_config.json", "adapter_model.safetensors")]  # fmt: skip


def write_base_policy(folder: Path, settings: dict[str, Any], provenance: dict[str, Any]) -> None:
    """Publish the policy that is the base model: round 0, no adapter."""
    state = {"round": 0, "step": 0, "adapter": None, "settings": settings, "provenance": provenance,
             "policy_sha256": None}  # fmt: skip
    with publish(folder) as partial:
        write_json(partial / STATE_FILE, state)


def copy_policy(source: Path, folder: Path, provenance: dict[str, Any]) -> None:
    """Publish a copy of an earlier policy, optimiser included, as round 0 of this run.

    Raises:
        PolicyError: the source is no policy, or is incomplete or corrupt.
    """
    state = check_policy(source)
    origin = {key: state[key] for key in ("round", "step", "policy_sha256")} | {"path": str(source.absolute())}
    with publish(folder) as partial:
        for file in sorted(path for path in source.rglob("*") if path.is_file() and path.name != STATE_FILE):
            copy = partial / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        write_json(partial / STATE_FILE, {**state, "round": 0, "provenance": {**provenance, "continued_from": origin}})


def check_policy(folder: Path) -> dict[str, Any]:
    """Read every file of a policy folder.

    Returns:
        Its state.

    Raises:
        PolicyError: the folder is no policy, or is incomplete or corrupt; names the file.
    """
    state = read_policy_state(folder)
    remedy = "give the folder of a complete policy; one that was interrupted has to be trained again"
    for name in _FILES if state["adapter"] else []:
        if not (folder / name).is_file():
            raise PolicyError("the policy is incomplete: file not found", where=str(folder / name), remedy=remedy)
    for file in sorted(folder.rglob("*.safetensors")):
        try:
            read_tensors(file)
        except StoreError as error:
            raise PolicyError(error.message, where=str(file), remedy=remedy) from error
    return state
