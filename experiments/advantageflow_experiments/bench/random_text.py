"""Text encoders of Stable Diffusion 3 with random weights, put together as its pipeline does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from advantageflow_experiments.bench.workload import Groups, Text


class RandomTextEncoders:
    """Two CLIP text encoders and T5, on prompts of random tokens.

    Args:
        encoders: CLIP, CLIP, T5.
        tokens: of the CLIP encoders and of T5.
        prompts: how many there are.
        seed: of their tokens.
        width: of the embeddings; CLIP's are filled up with zeros.
    """

    def __init__(
        self, encoders: Sequence[nn.Module], tokens: tuple[int, int], prompts: int, seed: int, *, width: int
    ) -> None:
        self._encoders, self._width = encoders, width
        generator = torch.Generator().manual_seed(seed)
        self._ids = [
            torch.randint(int(encoder.config.vocab_size), (prompts, length), generator=generator)  # type: ignore
            for encoder, length in zip(encoders, (tokens[0], *tokens), strict=True)
        ]

    @staticmethod
    def builders(clip: Sequence[dict[str, Any]], t5: dict[str, Any]) -> list[Callable[[], nn.Module]]:
        """What makes each encoder."""
        first, second = (CLIPTextConfig(**{"vocab_size": 49408, **config}) for config in clip)
        return [
            lambda: CLIPTextModelWithProjection(first),
            lambda: CLIPTextModelWithProjection(second),
            lambda: T5EncoderModel(T5Config(**t5)),
        ]

    @torch.no_grad()
    def __call__(self, groups: Groups) -> Text:
        """Embeddings of the prompt of each rollout, every encoder run on all of them."""
        ids = [prompts.to(groups.device)[groups] for prompts in self._ids]
        outs = [encoder(rows, output_hidden_states=True) for encoder, rows in zip(self._encoders, ids, strict=True)]
        clip = torch.cat([out.hidden_states[-2] for out in outs[:2]], dim=-1)
        clip = nn.functional.pad(clip, (0, self._width - clip.shape[-1]))
        embeds = torch.cat([clip, outs[2][0]], dim=1)
        return embeds.float(), torch.cat([out.text_embeds for out in outs[:2]], dim=-1).float()
