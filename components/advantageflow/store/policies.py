"""The policy artifact's state: which round and step, the adapter's shape, the hashes of its weights and of its base."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from advantageflow.errors import PolicyError, StoreError
from advantageflow.problems import problems_of, to_error
from advantageflow.records import ADAPTER_FOLDER, HISTORY_FILE, ROLLOUT_ADAPTER_FOLDER, STATE_FILE
from advantageflow.settings import LoraSettings, ModelSettings, PromptSettings, RewardSettings, Settings
from advantageflow.store.files import publish, read_json, write_json

ADAPTER_CONFIG_FILE = "adapter_config.json"
_Kind = TypeVar("_Kind", bound=Settings)
REMEDY = "give the folder of a complete policy; one in a run's artifacts is made again by --resume once it is deleted"
PEFT_FILE = "adapter_model.safetensors"


class PolicyState(Settings):
    """What state.json says of the policy beside it; hashes of what there is not are None."""

    round: int = Field(ge=0)  # rounds of its run that it was trained for; 0 for what a run starts from
    step: int = Field(ge=0)  # optimiser steps since the base model, those of earlier runs included
    # Rounds of the runs that its run continues; what is drawn in a round goes on from there, so a chain of runs with
    # one seed repeats neither prompts nor noise.
    rounds_before: int = Field(0, ge=0)
    lora: LoraSettings | None = None  # of its adapter, nothing left open; None for the base model itself
    policy_sha256: str | None  # of the tensors of 'policy', see `advantageflow.policy.saved.tensors_sha256`
    rollout_policy_sha256: str | None = None  # of the tensors of 'rollout_policy'
    # Of the base model's weights, see `advantageflow.policy.fingerprint.weights_sha256`; None until one is trained.
    base_sha256: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)  # sections of the run's settings by name, as JSON
    provenance: dict[str, Any] = Field(default_factory=dict)  # where it comes from, for a person

    @model_validator(mode="after")
    def _hash_of_an_adapter(self) -> Self:
        if (self.lora is None) != (self.policy_sha256 is None):
            raise ValueError("policy_sha256: an adapter has one, and the base model has none")
        return self

    @property
    def trained(self) -> bool:
        """Whether it has an adapter: it is not the base model."""
        return self.lora is not None

    @property
    def rounds(self) -> int:
        """Rounds since the base model."""
        return self.rounds_before + self.round

    @property
    def model(self) -> ModelSettings | None:
        """The base model that it was trained on, if known."""
        return None if "model" not in self.settings else _section(ModelSettings, self.settings["model"])

    @property
    def reward(self) -> RewardSettings:
        """What it was trained on; the default if not known."""
        return _section(RewardSettings, self.settings.get("reward", {}))

    @property
    def prompts(self) -> PromptSettings:
        """The prompts of its run; the default if not known."""
        return _section(PromptSettings, self.settings.get("prompts", {}))

    def write(self, folder: Path) -> None:
        """Write it into a policy folder that is being published."""
        write_json(folder / STATE_FILE, self.model_dump(mode="json"))


def _section(kind: type[_Kind], values: Any) -> _Kind:
    """Settings that a policy remembers. Raises PolicyError: this version cannot read them."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        said = to_error(problems_of(error, kind, {}))
        message = f"{kind.__name__} of its run cannot be read: {said.message}"
        remedy = "give the state.json that was written with it, or the policy of a run of this version"
        raise PolicyError(message, where=f"{STATE_FILE}, {said.where}", remedy=remedy) from error


def read_policy_state(folder: Path) -> PolicyState:
    """The state.json of a policy folder.
    Raises PolicyError: the folder is not a policy, or its state is corrupt; names the field.
    """
    path = Path(folder) / STATE_FILE
    try:
        return PolicyState.model_validate(read_json(path))
    except StoreError as error:
        raise PolicyError(f"not a policy: {error.message}", where=error.where, remedy=REMEDY) from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        message = f"not a policy: '{field}': {first['msg']}" if field else f"not a policy: {first['msg']}"
        raise PolicyError(message, where=str(path), remedy=REMEDY) from error


def lora_of(config: Mapping[str, Any]) -> LoraSettings:
    """Rank, alpha and targets that PEFT's adapter_config.json says. Raises ValidationError: it says something else."""
    targets = config.get("target_modules")
    names = [targets] if isinstance(targets, str) else sorted(targets or [])
    return LoraSettings.model_validate({"rank": config.get("r"), "alpha": config.get("lora_alpha"), "targets": names})


def copy_parts(policy: Path, adapter: Path | None, rollout_policy: Path | None) -> None:
    """Publish what some tasks read of a policy as artifacts of their own, each with its state; None for none.

    `adapter` is the trained adapter in PEFT's files, for evaluations; `rollout_policy` that of the rollout policy and
    how prompts fared, for rollouts.
    """
    of_rollouts = (*_files(ROLLOUT_ADAPTER_FOLDER), HISTORY_FILE)
    for part, names in ((adapter, _files(ADAPTER_FOLDER)), (rollout_policy, of_rollouts)):
        if part is None:
            continue
        with publish(part) as partial:
            for file in (policy / name for name in (STATE_FILE, *names) if (policy / name).exists()):
                copy = partial / file.relative_to(policy)
                copy.parent.mkdir(exist_ok=True)
                shutil.copyfile(file, copy)


def _files(adapter: str) -> tuple[str, str]:
    return f"{adapter}/{ADAPTER_CONFIG_FILE}", f"{adapter}/{PEFT_FILE}"
