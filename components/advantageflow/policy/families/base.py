"""What a family of rectified-flow models has to know: everything that differs between them, and nothing else."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.families.parts import Latents, Tokens, decode, tokenize
from advantageflow.policy.latent_sizes import LatentSizes
from advantageflow.settings import ModelSettings

Times = Float[Tensor, " batch"]
Configs = Mapping[str, Mapping[str, Any]]
"""The config.json of each part of a model, by the part's folder; absent text encoders are not there."""
Encoded = Mapping[str, Mapping[str, Tensor]]
"""What each text encoder gave, by its folder, then by names of the family's own; (texts, ...)."""


def _of_diffusers(name: str) -> Any:
    """A class of diffusers, which puts another module in its own place as it is imported: a thread that waits for the
    import of another one is given the first, which has no classes."""
    import_module("diffusers")
    return getattr(sys.modules["diffusers"], name)


class Family(ABC):
    """One family.

    Outside, time t is 0 at the data and 1 at the noise and a velocity is d x_t / d t = noise - data, whatever the
    transformer's own conventions; a guidance scale of 1 is none.

    Attributes:
        pipeline: class of the diffusers pipeline.
        transformer, autoencoder: diffusers' classes of these parts.
        text_encoders: their folders, in the order in which they run.
        optional: those of them that a model may lack.
        unconditional: text whose velocity guidance leads away from.
        lora_targets: names of the linear layers that get an adapter where the settings name none.
        blocks: classes of the transformer's repeated blocks, which are compiled (model.compile).
        averages: whether its velocities are means over an interval, of the length that 'interval' of the conditioning
            tells: what Euler's method steps over.
        even_sigmas: whether diffusers' pipeline gives its scheduler an even grid of noise levels, from 1 to 1 / steps.
    """

    pipeline: ClassVar[str]
    transformer: ClassVar[str]
    autoencoder: ClassVar[str] = "AutoencoderKL"
    text_encoders: ClassVar[tuple[str, ...]] = ("text_encoder",)
    optional: ClassVar[frozenset[str]] = frozenset()
    unconditional: ClassVar[str] = ""
    lora_targets: ClassVar[tuple[str, ...]]
    blocks: ClassVar[tuple[str, ...]] = ()
    averages: ClassVar[bool] = False
    even_sigmas: ClassVar[bool] = False

    @classmethod
    def of(cls, model: ModelSettings) -> Self:
        """The family as the settings of a model have it."""
        return cls()

    def transformer_class(self) -> Any:
        """The class of the transformer."""
        return _of_diffusers(self.transformer)

    def autoencoder_class(self) -> Any:
        """The class of the autoencoder."""
        return _of_diffusers(self.autoencoder)

    @abstractmethod
    def latent_sizes(self, configs: Configs) -> LatentSizes:
        """Sizes of latents, from the configurations of transformer and autoencoder."""

    def token_limit(self, part: str, configs: Configs, limit: int) -> int:
        """The most tokens that a text encoder is given for a text, where the settings allow `limit`."""
        return limit

    def tokenize(self, part: str, tokenizer: Any, texts: Sequence[str], length: int) -> Tokens:
        """What the text encoder is given for the texts; `length` is its `token_limit`."""
        return tokenize(tokenizer, part, texts, length)

    @abstractmethod
    def encode(self, part: str, encoder: Any, tokens: Tokens) -> dict[str, Tensor]:
        """Run a text encoder on tokens; what the family uses of its output, by names of its own."""

    def condition(self, encoded: Encoded, configs: Configs, limit: int) -> Conditioning:
        """What the transformer is told, in the precision of `encoded`: of a single text encoder, all that it gave.

        Args:
            encoded: what each text encoder gave; optional ones may be missing.
            configs: of the model's parts.
            limit: tokens that the settings allow.
        """
        (told,) = encoded.values()
        return Conditioning(told)

    @abstractmethod
    def velocity(self, transformer: nn.Module, x_t: Latents, t: Times, conditioning: Conditioning) -> Latents:
        """`v_theta(x_t, t, c)` in the precision of x_t, computed in that of the base weights; t in [0, 1]."""

    def guide(self, conditional: Latents, unconditional: Latents, scale: float) -> Latents:
        """The guided velocity: `v_empty + scale (v - v_empty)`."""
        return unconditional + scale * (conditional - unconditional)

    def told_of_guidance(self, scale: float) -> dict[str, Any]:
        """Arguments by which diffusers' pipeline guides as `guide` does."""
        return {"guidance_scale": scale}

    def decode(self, vae: nn.Module, latents: Latents) -> NDArray[np.uint8]:
        """RGB pictures (batch, H, W, 3) of clean latents; scale and shift are the autoencoder's own."""
        return decode(vae, latents)


ATTENTION: Sequence[str] = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
"""The projections of joint attention between text and image streams, as diffusers names them."""
ATTENTION_AND_FEED_FORWARD: Sequence[str] = (
    *ATTENTION, "ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2",
)  # fmt: skip
"""The linear layers of MM-DiT blocks with text and image streams."""
