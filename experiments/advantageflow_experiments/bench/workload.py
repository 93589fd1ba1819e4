"""What every row of the benchmark works on: a policy, a round of rollouts, and text encoders, all in memory."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from advantageflow.flow.advantages import Term
from advantageflow.policy.adapters import ADAPTERS
from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.families import Family
from advantageflow.policy.families.parts import Tokens
from advantageflow.policy.layers import LoraLinear
from advantageflow.policy.loading import compile_blocks
from advantageflow.policy.norms import FusedNorm
from advantageflow.settings import TrainingSettings
from advantageflow.training.data import RoundData
from advantageflow.training.policy import Inputs, Policy
from advantageflow.training.step import Samples

Groups = Int[Tensor, " rollouts"]
Encode = Callable[[Groups], Conditioning]
"""Runs the text encoders on the prompt of each rollout, group duplicates included; results on the data's device."""


@dataclass(frozen=True)
class Workload:
    """One round to train on, again and again from the same start."""

    policy: Policy  # changed by training; `restart` undoes it
    data: RoundData  # on the policy's device
    settings: TrainingSettings  # of training
    encode: Encode  # the text encoders
    seed: int  # of all draws
    autocast: bool = False  # whether float32 weights are computed with in bfloat16, as mixed-precision trainers do
    _initial: dict[str, dict[str, Tensor]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for adapter in ADAPTERS:
            parameters = self.policy.adapters.named_parameters(adapter)
            self._initial[adapter] = {name: value.detach().clone() for name, value in parameters.items()}

    @property
    def device(self) -> torch.device:
        return self.data.latents.device

    @property
    def rollouts(self) -> int:
        return len(self.data.latents)

    @property
    def samples(self) -> int:
        """Training samples of a round: each a rollout at one time, with forward and backward."""
        return self.rollouts * self.settings.inner_epochs

    def minibatches(self) -> list[Samples]:
        """Which rollouts each optimiser step trains on: a part of them at all their times, as in the peers' loop."""
        order = torch.randperm(self.rollouts, generator=torch.Generator().manual_seed(self.seed))
        return [part.repeat(self.settings.inner_epochs) for part in order.tensor_split(self.settings.gradient_steps)]

    def restart(self) -> None:
        """Puts adapters and optimiser back to where they were."""
        for adapter, initial in self._initial.items():
            for name, parameter in self.policy.adapters.named_parameters(adapter).items():
                parameter.data.copy_(initial[name])
        self.policy.optimiser.state.clear()
        self.policy.optimiser.zero_grad()

    def sample(self) -> Inputs:
        """One training sample, halfway between image and noise."""
        data, time = self.data, torch.full((1,), 0.5, device=self.device)
        return data.latents[:1], time, data.conditioning.rows(slice(1))

    def precision(self) -> contextlib.AbstractContextManager[object]:
        """The context to compute in."""
        if self.autocast:
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()


class CompiledBlocks(contextlib.AbstractContextManager[None]):
    """The blocks of a transformer, compiled within `with` and eager outside; compiled once."""

    def __init__(self, transformer: nn.Module, family: Family, backend: str | Callable[..., Any] = "inductor") -> None:
        compile_blocks(transformer, family, backend)
        self._compiled = {
            module: module._compiled_call_impl for module in transformer.modules() if module._compiled_call_impl
        }
        self.__exit__()

    def __enter__(self) -> None:
        for module, call in self._compiled.items():
            module._compiled_call_impl = call

    def __exit__(self, *error: object) -> None:
        for module in self._compiled:
            module._compiled_call_impl = None


@contextlib.contextmanager
def channels_last(vae: nn.Module | None) -> Iterator[None]:
    """Within the block an autoencoder lies in memory as the stages have it beside compiled blocks."""
    module = vae or nn.Identity()
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        yield
    finally:
        module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


@contextlib.contextmanager
def as_published(transformer: nn.Module) -> Iterator[None]:
    """Within the block adapters and norms compute as PEFT and diffusers have them."""
    ours: dict[Any, Any] = {m: type(m) for m in transformer.modules() if isinstance(m, LoraLinear | FusedNorm)}
    for module, kind in ours.items():
        module.__class__ = kind.__base__
    try:
        yield
    finally:
        for module, kind in ours.items():
            module.__class__ = kind


def text_encoding(
    family: Family,
    parts: Mapping[str, Any],
    limit: int,
    encoders: Mapping[str, nn.Module],
    tokens: Mapping[str, Tokens],
) -> Encode:
    """Text encoders, kept in memory, on the tokens of a round's prompts, put together as the model's pipeline does."""

    @torch.no_grad()
    def encode(groups: Groups) -> Conditioning:
        encoded = {
            part: family.encode(part, encoder, {name: ids[groups] for name, ids in tokens[part].items()})
            for part, encoder in encoders.items()
        }
        return family.condition(encoded, parts, limit).to(dtype=torch.float32)

    return encode


def random_terms(groups: int, group_size: int, seed: int) -> tuple[Term, ...]:
    """One term with rewards in [0, 1): time does not depend on them, so the benchmark needs no scorer."""
    generator = torch.Generator().manual_seed(seed)
    return (Term(torch.rand(groups, group_size, generator=generator, dtype=torch.float64)),)


def base_parameters(transformer: nn.Module) -> int:
    """How many parameters the base model has, adapters not counted."""
    return sum(value.numel() for name, value in transformer.named_parameters() if "lora_" not in name)
