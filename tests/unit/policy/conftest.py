"""Tiny random models of the real classes: Stable Diffusion 3 and FLUX.1 pipelines as diffusers would save them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5TokenizerFast

from advantageflow.settings import ModelSettings

TOKENS = 12  # that the CLIP tokenizer allows, fewer than most sentences have letters
T5_TOKENS = 20
WIDTH = 32


def clip_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer without merges: a token a letter."""
    letters = sorted(ByteLevel.alphabet())
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    ids = {token: number for number, token in enumerate(vocabulary)}
    return CLIPTokenizer(vocab=ids, merges=[], model_max_length=TOKENS)


def t5_tokenizer() -> T5TokenizerFast:
    """T5's unigram tokenizer over single letters."""
    letters = [(letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz"]
    return T5TokenizerFast(
        vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), ("▁", -2.0), *letters],
        extra_ids=0,
        model_max_length=T5_TOKENS,
    )


def flux_pipeline(*, distilled: bool) -> FluxPipeline:
    """All of FLUX.1, 16 x 16 pixels in 4 x 4 latents of 4 channels; `distilled` as dev is, else as schnell."""
    torch.manual_seed(0)
    clip, t5 = clip_tokenizer(), t5_tokenizer()
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(4, 4, 8),
            latent_channels=4,
            norm_num_groups=2,
            use_quant_conv=False,
            use_post_quant_conv=False,
            scaling_factor=0.3611,
            shift_factor=0.1159,
        ),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(clip),
                hidden_size=WIDTH,
                intermediate_size=WIDTH,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=TOKENS,
                bos_token_id=clip.bos_token_id,
                eos_token_id=clip.eos_token_id,
                pad_token_id=clip.pad_token_id,
            )
        ),
        tokenizer=clip,
        text_encoder_2=T5EncoderModel(
            T5Config(vocab_size=len(t5), d_model=WIDTH, d_kv=16, d_ff=WIDTH, num_layers=1, num_heads=2)
        ),
        tokenizer_2=t5,
        transformer=FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            guidance_embeds=distilled,
            axes_dims_rope=(4, 6, 6),
        ),
    )


def flux_model(folder: Path) -> ModelSettings:
    return ModelSettings(name=str(folder), image_size=16, max_sequence_length=T5_TOKENS, embedded_guidance=2.5)


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    """A distilled FLUX.1."""
    folder = tmp_path_factory.mktemp("flux-dev")
    flux_pipeline(distilled=True).save_pretrained(folder)
    return flux_model(folder)


@pytest.fixture(scope="session")
def schnell(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    """A FLUX.1 without embedded guidance."""
    folder = tmp_path_factory.mktemp("flux-schnell")
    flux_pipeline(distilled=False).save_pretrained(folder)
    return flux_model(folder)


@pytest.fixture(scope="session")
def flux() -> Callable[[], FluxPipeline]:
    """Makes a FLUX.1 without embedded guidance, every time the same."""
    return lambda: flux_pipeline(distilled=False)
