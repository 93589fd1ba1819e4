"""A policy's files, written, read and checked: the one way by which stages and commands come to a policy's weights.

An adapter is one folder for PEFT and for diffusers:

    adapter_model.safetensors           PEFT: `base_model.model.<layer>.lora_A.weight`, float32
    adapter_config.json                 PEFT: rank, alpha, targets, base model
    pytorch_lora_weights.safetensors    diffusers: `transformer.<layer>.lora_A.weight`

Each library reads its own names only. diffusers' file has alpha / rank multiplied into lora_B: without metadata every
version takes alpha for the rank, and so do other programs that read this layout.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from peft import LoraConfig
from pydantic import ValidationError
from torch import Tensor, nn

from advantageflow.errors import PolicyError, SettingsError, StoreError
from advantageflow.policy.families import Family
from advantageflow.policy.fingerprint import weights_sha256
from advantageflow.records import ADAPTER_FOLDER, ROLLOUT_ADAPTER_FOLDER
from advantageflow.settings import LoraSettings, ModelSettings
from advantageflow.store.files import read_json, read_tensors, write_tensors
from advantageflow.store.policies import ADAPTER_CONFIG_FILE, PEFT_FILE, REMEDY, PolicyState, lora_of, read_policy_state

ADAPTERS = (ADAPTER_FOLDER, ROLLOUT_ADAPTER_FOLDER)
DIFFUSERS_FILE = "pytorch_lora_weights.safetensors"
PEFT_PREFIX = "base_model.model."
DIFFUSERS_PREFIX = "transformer."

Tensors = Mapping[str, Tensor]
"""An adapter's matrices by `<layer>.lora_A.weight` (rank, in) and `<layer>.lora_B.weight` (out, rank)."""


def lora_config(lora: LoraSettings) -> LoraConfig:
    """PEFT's configuration of an adapter whose targets are named."""
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=list(lora.targets or ()))
    config.target_modules = sorted(lora.targets or ())  # PEFT makes it a set, whose order varies
    config.init_lora_weights = "gaussian"
    return config


def write_peft(folder: Path, tensors: Tensors, lora: LoraSettings, model: ModelSettings | None) -> None:
    """Write what `PeftModel.from_pretrained(transformer, folder)` reads; raises StoreError where it cannot be."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / PEFT_FILE, {f"{PEFT_PREFIX}{name}": value for name, value in sorted(tensors.items())})
    config = lora_config(lora)
    config.base_model_name_or_path = None if model is None else model.name
    config.revision = None if model is None else model.revision
    config.inference_mode = True
    config.save_pretrained(str(folder))


def write_diffusers(folder: Path, tensors: Tensors, lora: LoraSettings) -> None:
    """Write what `pipeline.load_lora_weights(folder)` reads; raises StoreError where it cannot be."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / DIFFUSERS_FILE, _for_diffusers(tensors, lora))


@dataclass(frozen=True)
class SavedPolicy:
    """What a policy folder holds; its weights are finite and those of their hashes."""

    folder: Path  # of the artifact
    state: PolicyState  # its state
    # of the adapters that were read, 'policy' and 'rollout_policy'; none of the base model
    tensors: Mapping[str, Tensors]

    def check_base(self, transformer: nn.Module, model: ModelSettings) -> None:
        """Hold a base model to the one that the policy was trained on; adapters of a policy are nothing without it.
        Raises PolicyError: it is another one; names both.
        """
        trained_on = self.state.model
        name = "another model" if trained_on is None else f"'{trained_on.name}'"
        if self.state.base_sha256 is None:  # another program trained it
            other = trained_on is not None and trained_on.name != model.name
        else:
            other = self.state.base_sha256 != weights_sha256(transformer)
        if self.state.trained and other:
            raise PolicyError(
                f"the policy was trained on {name}, and '{model.name}' has other weights",
                where=str(self.folder),
                remedy="set model.name and model.revision to the base model that it was trained on",
            )

    def check_lora(self, lora: LoraSettings, family: Family) -> None:
        """Hold the settings of the adapter to those that it has, which are kept when training goes on.
        Raises SettingsError: they ask for another rank, alpha or other targets; says which settings fit.
        """
        own, wanted = self.state.lora, whole(lora, family)
        if own is not None and wanted != own:
            raise other_lora(own, wanted, self.folder)


def read_policy(folder: Path, adapters: Sequence[str] = ADAPTERS) -> SavedPolicy:
    """Read a policy artifact, or a part of it that has these adapters, and check them. Raises PolicyError: the folder
    is not a policy, is incomplete or corrupt, or holds weights that are not finite or not those that its state names;
    names the file.
    """
    state = read_policy_state(folder)
    if state.lora is None:
        return SavedPolicy(folder, state, {})
    hashes = dict(zip(ADAPTERS, (state.policy_sha256, state.rollout_policy_sha256), strict=True))
    tensors = {}
    for name in adapters:
        lora, tensors[name] = _read_peft(folder / name)
        if lora != state.lora:
            message = "rank, alpha or targets are not those of state.json"
            raise PolicyError(message, where=str(folder / name), remedy=REMEDY)
        if hashes[name] not in (None, tensors_sha256(tensors[name])):
            message = f"the weights are not those that state.json names ({name}_sha256)"
            raise PolicyError(message, where=str(folder / name / PEFT_FILE), remedy=REMEDY)
    others = folder / ADAPTER_FOLDER / DIFFUSERS_FILE  # what others load is what was judged
    if ADAPTER_FOLDER in tensors and others.exists():
        same = _for_diffusers(tensors[ADAPTER_FOLDER], state.lora)
        if tensors_sha256(read_finite(others)) != tensors_sha256(same):
            raise PolicyError(f"the weights are not those of {PEFT_FILE}", where=str(others), remedy=REMEDY)
    return SavedPolicy(folder, state, tensors)


def check_all_files(folder: Path) -> SavedPolicy:
    """As `read_policy`, and read every other tensor file, such as the optimiser's.
    Raises PolicyError as `read_policy`; or another file is corrupt or not finite.
    """
    policy = read_policy(folder)
    for file in sorted(folder.glob("*.safetensors")):
        read_finite(file)
    return policy


def read_finite(file: Path) -> dict[str, Tensor]:
    """The tensors of a policy's file.
    Raises PolicyError: it is missing or corrupt, or a tensor has a value that is not finite; names it.
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


def whole(lora: LoraSettings, family: Family) -> LoraSettings:
    """The same settings with their targets named, in order; where they name none, the family's."""
    return lora.model_copy(update={"targets": tuple(sorted(lora.targets or family.lora_targets))})


def other_lora(own: LoraSettings, wanted: LoraSettings, folder: Path) -> SettingsError:
    """The error where a policy's adapter has another shape than the settings ask for."""
    names = [name for name in LoraSettings.model_fields if getattr(wanted, name) != getattr(own, name)]
    has, asked = (", ".join(f"{name} {_text(getattr(one, name))}" for name in names) for one in (own, wanted))
    remedy = "set " + " ".join(f"training.lora.{name}={_text(getattr(own, name))}" for name in names)
    message = f"the policy in {folder} has {has}; the settings ask for {asked}"
    return SettingsError(message, where="training.lora", remedy=remedy)


def _text(value: int | tuple[str, ...]) -> str:
    return f"[{','.join(value)}]" if isinstance(value, tuple) else str(value)


def _read_peft(folder: Path) -> tuple[LoraSettings, dict[str, Tensor]]:
    """The adapter in PEFT's files."""
    config = folder / ADAPTER_CONFIG_FILE
    try:
        lora = lora_of(read_json(config))
    except StoreError as error:
        raise PolicyError(error.message, where=error.where, remedy=REMEDY) from error
    except ValidationError as error:
        message = f"not an adapter of ours: {error.errors()[0]['msg']}"
        raise PolicyError(message, where=str(config), remedy=REMEDY) from error
    return lora, {name.removeprefix(PEFT_PREFIX): value for name, value in read_finite(folder / PEFT_FILE).items()}


def _for_diffusers(tensors: Tensors, lora: LoraSettings) -> dict[str, Tensor]:
    scale = lora.alpha / lora.rank
    scaled = {name: value * scale if ".lora_B." in name else value for name, value in sorted(tensors.items())}
    return {f"{DIFFUSERS_PREFIX}{name}": value for name, value in scaled.items()}
