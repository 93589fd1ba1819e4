"""The policy that a run starts from: the base model as it is, or a copy of an earlier run's policy."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advantageflow.errors import PolicyError, StoreError
from advantageflow.records import ADAPTER_FOLDER, ROLLOUT_ADAPTER_FOLDER, STATE_FILE
from advantageflow.store.artifacts import publish, read_json, read_policy_state, read_tensors, rounds_before, write_json

if TYPE_CHECKING:
    from torch import Tensor

_CONFIG_FILE = "adapter_config.json"
_WEIGHTS_FILE = "adapter_model.safetensors"
_FILES = [f"{folder}/{name}" for folder in (ADAPTER_FOLDER, ROLLOUT_ADAPTER_FOLDER)
          for name in (_CONFIG_FILE, _WEIGHTS_FILE)]  # fmt: skip
_REMEDY = "give the folder of a complete policy; one that was interrupted has to be trained again"


def write_base_policy(folder: Path, settings: dict[str, Any], provenance: dict[str, Any]) -> None:
    """Publish the policy that is the base model: round 0, no adapter."""
    state = {"round": 0, "step": 0, "adapter": None, "settings": settings, "provenance": provenance,
             "policy_sha256": None}  # fmt: skip
    with publish(folder) as partial:
        write_json(partial / STATE_FILE, state)


def copy_policy(source: Path, folder: Path, provenance: dict[str, Any], origin: str | None = None) -> None:
    """Publish a copy of an earlier policy, optimiser included, as round 0 of this run.

    Args:
        source: its folder.
        folder: of the policy artifact to write.
        provenance: of this run.
        origin: the address that `source` was fetched from, if it was.

    Raises:
        PolicyError: the source is no policy, or is incomplete or corrupt.
    """
    state = check_policy(source)
    earlier = {key: state[key] for key in ("round", "step", "policy_sha256")} | {
        "path": origin or str(source.absolute())
    }
    with publish(folder) as partial:
        for file in sorted(path for path in source.rglob("*") if path.is_file() and path.name != STATE_FILE):
            copy = partial / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        now = {"round": 0, "rounds_before": rounds_before(state) + state["round"]}
        write_json(partial / STATE_FILE, {**state, **now, "provenance": {**provenance, "continued_from": earlier}})


def check_policy(folder: Path) -> dict[str, Any]:
    """Read every file of a policy folder.

    Returns:
        Its state.

    Raises:
        PolicyError: the folder is no policy, is incomplete or corrupt, or holds other weights than its state says;
            names the file.
    """
    state = read_policy_state(folder)
    for name in _FILES if state["adapter"] else []:
        if not (folder / name).is_file():
            raise _unusable("the policy is incomplete: file not found", folder / name)
    try:
        for file in sorted(folder.rglob(_CONFIG_FILE)):
            read_json(file)
        for file in sorted(folder.rglob("*.safetensors")):
            tensors = read_tensors(file)
            _check_finite(tensors, file)
            if state["adapter"] and state["policy_sha256"] and file == folder / ADAPTER_FOLDER / _WEIGHTS_FILE:
                _check_sha256(tensors, state["policy_sha256"], file)
    except StoreError as error:
        raise _unusable(error.message, file) from error
    return state


def _check_finite(tensors: dict[str, Tensor], file: Path) -> None:
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise _unusable(f"'{name}' holds values that are not finite", file)


def _check_sha256(tensors: dict[str, Tensor], sha256: str, file: Path) -> None:
    from advantageflow.policy.adapters import tensors_sha256

    if tensors_sha256({name: tensor.float() for name, tensor in tensors.items()}) != sha256:  # policies are float32
        raise _unusable("the weights are not those that state.json names (policy_sha256)", file)


def _unusable(message: str, file: Path) -> PolicyError:
    return PolicyError(message, where=str(file), remedy=_REMEDY)
