"""What a family of rectified-flow models has to know: everything that differs between them, and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from advantageflow.policy.autoencoder import Latents, decode

Times = Float[Tensor, " batch"]
PromptEmbeds = Float[Tensor, "batch tokens width"]
Pooled = Float[Tensor, "batch pooled_width"]


class Encoded(NamedTuple):
    """What one text encoder gives a family; None for what the family does not use of it.

    Attributes:
        tokens: an embedding of each token.
        pooled: an embedding of the whole text.
    """

    tokens: Tensor | None
    pooled: Tensor | None


class Family(ABC):
    """One family. Latents are (batch, channels, height, width) outside, whatever its transformer wants inside.

    Attributes:
        pipeline: class of the diffusers pipeline, by which model_index.json names the family.
        text_encoders: their folders, in the order in which they run.
        optional: those of them that a model may lack.
        t5: the one that is a T5, whose length the settings choose; CLIP's is fixed.
        lora_targets: names of the linear layers that get an adapter where the settings name none.
    """

    pipeline: ClassVar[str]
    text_encoders: ClassVar[tuple[str, ...]]
    optional: ClassVar[frozenset[str]] = frozenset()
    t5: ClassVar[str]
    lora_targets: ClassVar[tuple[str, ...]]

    @abstractmethod
    def transformer_class(self) -> Any:
        """The diffusers class of the transformer."""

    @abstractmethod
    def latent_channels(self, config: Mapping[str, Any]) -> int:
        """Channels of a latent, from the transformer's configuration."""

    @abstractmethod
    def latent_sizes(self, config: Mapping[str, Any]) -> tuple[int, int, int]:
        """Usual and largest height (and width) of a latent, and what it must be a multiple of."""

    @abstractmethod
    def velocity(
        self, transformer: nn.Module, x_t: Latents, t: Times, prompt_embeds: PromptEmbeds, pooled: Pooled
    ) -> Latents:
        """`v_theta(x_t, t, c)` in the precision of x_t, computed in that of the base weights; t in [0, 1]."""

    @abstractmethod
    def encode(self, part: str, encoder: Any, tokens: Tensor) -> Encoded:
        """Run a text encoder on token ids (batch, length)."""

    @abstractmethod
    def join(self, encoded: Mapping[str, Encoded], config: Mapping[str, Any], t5_tokens: int) -> tuple[Tensor, Tensor]:
        """The transformer's two text inputs, (batch, tokens, width) and (batch, pooled width).

        Args:
            encoded: what each text encoder gave, by its folder; optional ones may be missing.
            config: the transformer's configuration.
            t5_tokens: length of T5's part, also where there is no T5.
        """

    def decode(self, vae: nn.Module, latents: Latents) -> NDArray[np.uint8]:
        """RGB pictures (batch, H, W, 3) of clean latents; scale and shift are the autoencoder's own."""
        return decode(vae, latents)


def only(value: Tensor | None) -> Tensor:
    """A part of an encoding that is there by the family's own making."""
    if value is None:
        raise AssertionError("the family did not keep this part of the encoding")
    return value


ATTENTION_AND_FEED_FORWARD: Sequence[str] = (
    "to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out",
    "ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2",
)  # fmt: skip
"""The linear layers of MM-DiT blocks with text and image streams, as diffusers names them."""
