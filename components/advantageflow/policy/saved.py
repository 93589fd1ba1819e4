"""A policy artifact, read and checked: the one way by which stages and commands come to a policy's weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from advantageflow.errors import PolicyError, SettingsError
from advantageflow.policy.adapter_files import (
    PEFT_FILE,
    Tensors,
    check_diffusers,
    read_finite,
    read_peft,
    tensors_sha256,
)
from advantageflow.policy.families import Family
from advantageflow.policy.fingerprint import weights_sha256
from advantageflow.records import ADAPTER_FOLDER, ROLLOUT_ADAPTER_FOLDER
from advantageflow.settings import LoraSettings, ModelSettings
from advantageflow.store.policies import REMEDY, PolicyState, read_policy_state

ADAPTERS = (ADAPTER_FOLDER, ROLLOUT_ADAPTER_FOLDER)


@dataclass(frozen=True)
class SavedPolicy:
    """What a policy folder holds; its weights are finite and those of their hashes.

    Attributes:
        folder: of the artifact.
        state: its state.
        tensors: of the adapters that were read, 'policy' and 'rollout_policy'; none of the base model.
    """

    folder: Path
    state: PolicyState
    tensors: Mapping[str, Tensors]

    def check_base(self, transformer: nn.Module, model: ModelSettings) -> None:
        """Hold a base model to the one that the policy was trained on; adapters of a policy are nothing without it.

        Raises:
            PolicyError: it is another one; names both.
        """
        trained_on = self.state.model
        name = "another model" if trained_on is None else f"'{trained_on.name}'"
        if self.state.base_sha256 is None:  # an older version wrote it
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

        Raises:
            SettingsError: they ask for another rank, alpha or other targets; says which settings fit.
        """
        own, wanted = self.state.lora, whole(lora, family)
        if own is not None and wanted != own:
            raise other_lora(own, wanted, self.folder)


def read_policy(folder: Path, adapters: Sequence[str] = ADAPTERS) -> SavedPolicy:
    """Read a policy artifact and check its adapters.

    Args:
        folder: of the policy, or of a part of it.
        adapters: which of them to read.

    Raises:
        PolicyError: the folder is not a policy, is incomplete or corrupt, or holds weights that are not finite or not
            those that its state names; names the file.
    """
    state = read_policy_state(folder)
    if state.lora is None:
        return SavedPolicy(folder, state, {})
    hashes = dict(zip(ADAPTERS, (state.policy_sha256, state.rollout_policy_sha256), strict=True))
    tensors = {}
    for name in adapters:
        sha256 = hashes[name]
        lora, tensors[name] = read_peft(folder / name)
        if lora != state.lora:
            raise PolicyError(
                "rank, alpha or targets are not those of state.json", where=str(folder / name), remedy=REMEDY
            )
        if sha256 is not None and tensors_sha256(tensors[name]) != sha256:
            message = f"the weights are not those that state.json names ({name}_sha256)"
            raise PolicyError(message, where=str(folder / name / PEFT_FILE), remedy=REMEDY)
    if ADAPTER_FOLDER in tensors:
        check_diffusers(folder / ADAPTER_FOLDER, tensors[ADAPTER_FOLDER], state.lora)
    return SavedPolicy(folder, state, tensors)


def whole(lora: LoraSettings, family: Family) -> LoraSettings:
    """The same settings with their targets named, in order; where they name none, the family's."""
    return lora.model_copy(update={"targets": tuple(sorted(lora.targets or family.lora_targets))})


def check_all_files(folder: Path) -> SavedPolicy:
    """As `read_policy`, and read every other tensor file, such as the optimiser's.

    Raises:
        PolicyError: as `read_policy`; or another file is corrupt or not finite.
    """
    policy = read_policy(folder)
    for file in sorted(folder.glob("*.safetensors")):
        read_finite(file)
    return policy


def other_lora(own: LoraSettings, wanted: LoraSettings, folder: Path) -> SettingsError:
    """The error where a policy's adapter has another shape than the settings ask for."""
    names = [name for name in LoraSettings.model_fields if getattr(wanted, name) != getattr(own, name)]
    has, asked = (", ".join(f"{name} {_text(getattr(one, name))}" for name in names) for one in (own, wanted))
    remedy = "set " + " ".join(f"training.lora.{name}={_text(getattr(own, name))}" for name in names)
    message = f"the policy in {folder} has {has}; the settings ask for {asked}"
    return SettingsError(message, where="training.lora", remedy=remedy)


def _text(value: int | tuple[str, ...]) -> str:
    return f"[{','.join(value)}]" if isinstance(value, tuple) else str(value)
