"""Tiny random parts that models of several families are made of."""

from __future__ import annotations

from diffusers import AutoencoderKL
from transformers import T5TokenizerFast

T5_TOKENS = 20


def t5_tokenizer() -> T5TokenizerFast:
    """T5's unigram tokenizer over single letters."""
    letters = [(letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz"]
    return T5TokenizerFast(
        vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), ("▁", -2.0), *letters],
        extra_ids=0,
        model_max_length=T5_TOKENS,
    )


def autoencoder(shift: float | None = 0.1159) -> AutoencoderKL:
    """16 x 16 pixels in 4 x 4 latents of 4 channels."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(4, 4, 8),
        latent_channels=4,
        norm_num_groups=2,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=0.3611,
        shift_factor=shift,
    )
