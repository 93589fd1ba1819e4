"""Loads a reward's model from the hub or a local folder, and says what to do where that fails."""

from __future__ import annotations

from typing import Any, Literal

from advantageflow.errors import RewardError

Device = Literal["cpu", "cuda"]
DType = Literal["float32", "bfloat16"]


def load(kind: Any, name: str, revision: str | None, **options: Any) -> Any:
    """A model, tokenizer or configuration by `from_pretrained`; a model still has to be moved to its device.

    Args:
        kind: a transformers class.
        name: hub id, or folder written by save_pretrained.
        revision: hub commit, tag or branch.
        options: of `from_pretrained`.

    Raises:
        RewardError: there is none, or it is incomplete or gated; names it.
    """
    try:
        return kind.from_pretrained(name, revision=revision, **options)
    except (OSError, ValueError) as error:
        remedy = (
            "check the name; without internet, give a local folder of it; for a gated hub model accept its licence "
            "and log in with `hf auth login`"
        )
        reason = str(error).strip().partition("\n")[0]
        raise RewardError(f"cannot load {kind.__name__}: {reason}", where=name, remedy=remedy) from error


def check_device(device: str, where: str) -> None:
    """Raises RewardError if a GPU is asked for and torch sees none: never a silent run on the CPU."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        remedy = "run on a GPU node with a CUDA build of torch, or set the reward's option device to cpu"
        raise RewardError("a GPU is asked for (device = cuda) but torch sees none", where=where, remedy=remedy)
