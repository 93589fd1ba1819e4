"""Loads what learned rewards are made of, from a folder, the hub's cache or the hub, with one clear error if it fails.

Weights are loaded in float32 on the CPU, whatever the precision of the file, so that their hash says which they are.
"""

import hashlib
import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from advantageflow.annotations import Module, Tensor
from advantageflow.errors import RewardError, UserError
from advantageflow.shown import first_line

_SHOWN = 12  # hex digits of a hash that go into a version


def load_model(kind: Any, name: str, *, where: str, revision: str | None = None) -> Any:
    """A model of transformers of this class, every weight of it from the checkpoint.

    `name` is a folder written by save_pretrained, or a hub id; errors say `where` it stands, such as an option of a
    reward. Raises RewardError: it is missing, gated, corrupt or not of this class.
    """
    import torch

    place = _place(name, where)
    with _loading(f"{kind.__name__} from {name}", name, where):
        model, info = kind.from_pretrained(
            place,
            revision=revision,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # they are named below
            output_loading_info=True,
        )
    _check_complete(info, name, where, extra=False)
    return model


def build_model(kind: Any, config: Any, tensors: Mapping[str, Tensor], *, where: str, **arguments: Any) -> Any:
    """A model of transformers from tensors (of any precision) under its own names: all of them, and no others, in
    float32.

    Raises RewardError: a tensor is missing, not the model's, or of another shape than the model's.
    """
    import torch

    model, info = kind.from_pretrained(
        None,
        config=config,
        state_dict=dict(tensors),
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        **arguments,
    )
    _check_complete(info, "the checkpoint", where, extra=True)
    return model


def load_processor(kind: Any, name: str, *, where: str, revision: str | None = None) -> Any:
    """A tokenizer or image processor of transformers; takes and raises what load_model does."""
    place = _place(name, where)
    with _loading(f"{kind.__name__} from {name}", name, where):
        return kind.from_pretrained(place, revision=revision)


def find_file(name: str, candidates: Sequence[str], *, where: str, revision: str | None = None) -> Path:
    """A file of weights that no class of transformers can load.
    Raises RewardError: there is none of them, or the repository is missing or gated.

    Args:
        name: the file itself, a folder that holds it, or the hub id of a repository that does.
        candidates: what it may be called in a folder or repository, best first.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    place = Path(_place(name, where))
    if place.is_file():
        return place
    if place.is_dir():
        found = [place / candidate for candidate in candidates if (place / candidate).is_file()]
        if not found:
            remedy = f"put {candidates[-1]} there, or name the file itself"
            raise RewardError(f"the folder {place} holds none of {', '.join(candidates)}", where=where, remedy=remedy)
        return found[0]
    absent: Exception | None = None
    for candidate in candidates:
        with _loading(name, name, where):
            try:
                return Path(hf_hub_download(name, candidate, revision=revision))
            except EntryNotFoundError as error:  # also if it is not in the cache and the hub cannot be reached
                absent = error
    message = f"none of {', '.join(candidates)} could be had from '{name}': {first_line(absent)}"
    raise RewardError(message, where=where, remedy=_remedy(name)) from absent


def read_tensors(path: Path, *, where: str) -> dict[str, Tensor]:
    """The state dict in a .safetensors file, or in one of torch.save, which may keep it under 'state_dict'.
    Raises RewardError: the file is corrupt, or holds anything but tensors.

    The latter is read by torch.load(weights_only=True), which runs no code that the file brings.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError, SafetensorError) as error:
        remedy = "get the file again; if it holds more than tensors, save its state dict as .safetensors"
        raise RewardError(f"cannot read {path}: {first_line(error)}", where=where, remedy=remedy) from error
    state = stored.get("state_dict", stored) if isinstance(stored, dict) else stored
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        remedy = "give the published checkpoint, or its state dict as .safetensors"
        raise RewardError(f"{path} holds no state dict", where=where, remedy=remedy)
    return dict(state)


def renamed(state: Mapping[str, Tensor], rules: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """Tensors under the names that rules (a regular expression, and what stands for it) make of theirs, in turn."""

    def name_of(name: str) -> str:
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        return name

    return {name_of(name): value for name, value in state.items()}


def weights_hash(*modules: Module) -> str:
    """The first 12 hex digits of the SHA-256 over names, shapes and bytes of all parameters and buffers.

    Taken of what was loaded, on any device, in any precision, not of files, so that one model in several formats has
    one hash. Buffers that are not saved (persistent=False) do not count; the order of modules does.
    """
    import torch

    digest = hashlib.sha256()
    for module in modules:
        for name, value in sorted(module.state_dict().items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:_SHOWN]


@contextmanager
def _loading(what: str, name: str, where: str) -> Iterator[None]:
    """Turns what the libraries raise for missing, gated and corrupt models into one RewardError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # tokenizers raises plain Exception
        message = f"cannot load {what}: {first_line(error)}"
        raise RewardError(message, where=where, remedy=_remedy(name)) from error


def _place(name: str, where: str) -> str:
    """The name, or the path that it is; a path that is not there must not be asked for on the hub."""
    path = Path(name).expanduser()
    if not path.exists() and (path.is_absolute() or name.startswith((".", "~"))):
        remedy = "correct the path, or give a hub id"
        raise RewardError(f"cannot load {name}: there is no {path}", where=where, remedy=remedy)
    return str(path) if path.exists() else name


def _check_complete(info: Any, name: str, where: str, *, extra: bool) -> None:
    """Weights that transformers did not find it would make up, with no more than a warning."""
    problems = {
        "lacks": sorted(info["missing_keys"]),
        "has another shape for": sorted(key for key, *_ in info["mismatched_keys"]),
        "has nothing to do with": sorted(info["unexpected_keys"]) if extra else [],
    }
    for problem, keys in problems.items():
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            message = f"{name} {problem} {', '.join(keys[:3])}{more}"
            raise RewardError(message, where=where, remedy="give the published checkpoint of this reward")


def _remedy(name: str) -> str:
    if Path(name).expanduser().exists():
        return "get its files again: the local folder must hold what is published, or what save_pretrained wrote"
    return (
        f"check the name; without internet, `hf download {name}` elsewhere and give its folder; "
        "for a gated hub model accept its licence and log in with `hf auth login`"
    )
