"""A model's text encoders with random weights, on prompts of random tokens, put together as its pipeline does."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.configs import ModelConfigs
from advantageflow_experiments.bench.workload import Groups


class RandomTextEncoders:
    """Text encoders on prompts of random tokens.

    Args:
        configs: of the model's parts.
        encoders: by the part.
        limit: tokens of a text that the settings would allow.
        prompts: how many there are.
        seed: of their tokens.
    """

    def __init__(
        self, configs: ModelConfigs, encoders: Mapping[str, nn.Module], limit: int, prompts: int, seed: int
    ) -> None:
        self._configs, self._encoders, self._limit = configs, encoders, limit
        generator = torch.Generator().manual_seed(seed)
        lengths = {part: configs.family.token_limit(part, configs.parts, limit) for part in encoders}
        self._ids = {
            part: torch.randint(int(encoder.config.vocab_size), (prompts, lengths[part]), generator=generator)  # type: ignore
            for part, encoder in encoders.items()
        }

    @torch.no_grad()
    def __call__(self, groups: Groups) -> Conditioning:
        """The conditioning of the prompt of each rollout, every encoder run on all of them."""
        family, encoded = self._configs.family, {}
        for part, encoder in self._encoders.items():
            ids = self._ids[part].to(groups.device)[groups]
            encoded[part] = family.encode(part, encoder, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
        return family.condition(encoded, self._configs.parts, self._limit).to(dtype=torch.float32)
