"""The files of a LoRA adapter, in one folder for PEFT and for diffusers, and the hash of its weights.

    adapter_model.safetensors           PEFT: `base_model.model.<layer>.lora_A.weight`, float32
    adapter_config.json                 PEFT: rank, alpha, targets, base model
    pytorch_lora_weights.safetensors    diffusers: `transformer.<layer>.lora_A.weight`

Each library reads its own names only. diffusers' file has alpha / rank multiplied into lora_B: without metadata every
version takes alpha for the rank, and so do other programs that read this layout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from peft import LoraConfig
from pydantic import ValidationError
from torch import Tensor

from advantageflow.errors import PolicyError, StoreError
from advantageflow.settings import LoraSettings, ModelSettings
from advantageflow.store.files import read_json, read_tensors, write_tensors
from advantageflow.store.policies import ADAPTER_CONFIG_FILE, PEFT_FILE, REMEDY, lora_of

DIFFUSERS_FILE = "pytorch_lora_weights.safetensors"
PEFT_PREFIX = "base_model.model."
DIFFUSERS_PREFIX = "transformer."

Tensors = Mapping[str, Tensor]
"""An adapter's matrices by `<layer>.lora_A.weight` (rank, in) and `<layer>.lora_B.weight` (out, rank)."""


def write_peft(folder: Path, tensors: Tensors, lora: LoraSettings, model: ModelSettings | None) -> None:
    """Write what `PeftModel.from_pretrained(transformer, folder)` reads.

    Raises:
        StoreError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / PEFT_FILE, {f"{PEFT_PREFIX}{name}": value for name, value in sorted(tensors.items())})
    config = lora_config(lora)
    config.base_model_name_or_path = None if model is None else model.name
    config.revision = None if model is None else model.revision
    config.inference_mode = True
    config.save_pretrained(str(folder))


def write_diffusers(folder: Path, tensors: Tensors, lora: LoraSettings) -> None:
    """Write what `pipeline.load_lora_weights(folder)` reads.

    Raises:
        StoreError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / DIFFUSERS_FILE, _for_diffusers(tensors, lora))


def lora_config(lora: LoraSettings) -> LoraConfig:
    """PEFT's configuration of an adapter whose targets are named."""
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=list(lora.targets or ()))
    config.target_modules = sorted(lora.targets or ())  # PEFT makes it a set, whose order varies
    config.init_lora_weights = "gaussian"
    return config


def read_peft(folder: Path) -> tuple[LoraSettings, dict[str, Tensor]]:
    """The adapter in PEFT's files, also without PEFT's prefix, as older versions wrote it; checked to be finite.

    Raises:
        PolicyError: a file is missing or corrupt, or holds a value that is not finite; names the file.
    """
    config = folder / ADAPTER_CONFIG_FILE
    try:
        lora = lora_of(read_json(config))
    except StoreError as error:
        raise PolicyError(error.message, where=error.where, remedy=REMEDY) from error
    except ValidationError as error:
        message = f"not an adapter of ours: {error.errors()[0]['msg']}"
        raise PolicyError(message, where=str(config), remedy=REMEDY) from error
    tensors = read_finite(folder / PEFT_FILE)
    return lora, {name.removeprefix(PEFT_PREFIX): value for name, value in tensors.items()}


def check_diffusers(folder: Path, tensors: Tensors, lora: LoraSettings) -> None:
    """Hold diffusers' file, where there is one, to PEFT's: what others load is what was judged.

    Raises:
        PolicyError: it is corrupt, or holds another adapter.
    """
    path = folder / DIFFUSERS_FILE
    if not path.exists():
        return
    if tensors_sha256(read_finite(path)) != tensors_sha256(_for_diffusers(tensors, lora)):
        raise PolicyError(f"the weights are not those of {PEFT_FILE}", where=str(path), remedy=REMEDY)


def read_finite(file: Path) -> dict[str, Tensor]:
    """The tensors of a policy's file.

    Raises:
        PolicyError: it is missing or corrupt, or a tensor has a value that is not finite; names it.
    """
    try:
        tensors = read_tensors(file)
    except StoreError as error:
        raise PolicyError(error.message, where=error.where, remedy=REMEDY) from error
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise PolicyError(f"'{name}' holds values that are not finite", where=str(file), remedy=REMEDY)
    return tensors


def tensors_sha256(tensors: Tensors) -> str:
    """SHA-256 over the tensors in the order of their names, prefixes of file layouts left away: for each the text
    `<name><shape><dtype>`, such as `layer.lora_A.weight(2, 32)torch.float32`, and its bytes, row after row."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _for_diffusers(tensors: Tensors, lora: LoraSettings) -> dict[str, Tensor]:
    scale = lora.alpha / lora.rank
    scaled = {name: value * scale if ".lora_B." in name else value for name, value in sorted(tensors.items())}
    return {f"{DIFFUSERS_PREFIX}{name}": value for name, value in scaled.items()}
