"""The name of a round's checkpoints: a hash of all that determines its training.

A task that is tried again, on whatever node, has the same inputs and finds them; one that differs in anything that its
policy depends on, down to the last bit, does not.
"""

import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import advantageflow
from advantageflow.policy.fingerprint import transformer_fingerprint
from advantageflow.settings import ModelSettings, RewardSettings, TrainingSettings
from advantageflow.store.policies import read_policy_state
from advantageflow.training.data import RoundData

_PACKAGES = ("torch", "diffusers", "peft")


def checkpoint_key(
    settings: TrainingSettings,
    reward: RewardSettings,
    model: ModelSettings,
    *,
    seed: int,
    round_index: int,
    policy: Path,
    data: RoundData | None = None,
    further: Mapping[str, Any] = {},
) -> str:
    """Name the checkpoints of a round.

    Args:
        settings: number of processes, threads and microbatches included: sums depend on them.
        model: has been loaded.
        policy: the policy artifact that the round starts from.
        data: what it is trained on; None where that follows from the rest.
        further: what it depends on beside all this, JSON-able.

    Raises:
        PolicyError: which weights the model has cannot be told.
        StoreError: nor on S3.
    """
    told: Mapping[str, Any] = {
        "code": _code(),
        # An objective of a person's own is not in the package.
        "objective": hashlib.sha256(Path(inspect.getfile(type(settings.objective))).read_bytes()).hexdigest(),
        "versions": {name: version(name) for name in _PACKAGES},
        "training": settings.model_dump(mode="json", exclude={"checkpoint_every"}),
        "reward": reward.model_dump(mode="json"),
        "model": model.model_dump(mode="json"),
        "weights": transformer_fingerprint(model),
        "seed": seed,
        "round": round_index,
        "steps": read_policy_state(policy).step,
        **further,
    }
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for file in sorted(policy.rglob("*.safetensors")):
        with file.open("rb") as content:
            digest.update(str(file.relative_to(policy)).encode() + hashlib.file_digest(content, "sha256").digest())
    for name, tensor in _tensors(data) if data is not None else ():
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def _code() -> str:
    """A hash of the package's source: its version stays the same from one change to the next."""
    package, digest = Path(advantageflow.__file__).parent, hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(f"{file.relative_to(package)}\n".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _tensors(data: RoundData) -> Iterator[tuple[str, Tensor]]:
    """What training reads of a round."""
    yield "latents", data.latents
    yield from data.conditioning.tensors.items()
    for number, term in enumerate(data.terms):
        yield f"term {number}", term.rewards
    if data.trajectories is not None:
        yield "states", data.trajectories.states
        yield "log_probabilities", data.trajectories.log_probabilities
        yield "sigmas", data.trajectories.sigmas
        yield "noise_level", torch.tensor(data.trajectories.noise_level)
        yield data.trajectories.sampler, torch.tensor(0)
    if data.levels is not None:
        yield "levels", data.levels
