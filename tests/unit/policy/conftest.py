"""Tiny random models of the real classes: pipelines of every family as diffusers would save them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import (
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from tiny_parts import T5_TOKENS, autoencoder, t5_tokenizer
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
)

from advantageflow.settings import ModelSettings

TOKENS = 12  # that the CLIP tokenizer allows, fewer than most sentences have letters
WIDTH = 32
LONGEST = 256  # tokens of a text, for the models that are told how long texts are


def clip_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer without merges: a token a letter."""
    letters = sorted(ByteLevel.alphabet())
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    ids = {token: number for number, token in enumerate(vocabulary)}
    return CLIPTokenizer(vocab=ids, merges=[], model_max_length=TOKENS)


def qwen_tokenizer() -> Qwen2Tokenizer:
    """Qwen's tokenizer without merges: a token a letter; its chat template is a marked turn."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    ids = {token: number for number, token in enumerate([*special, *sorted(ByteLevel.alphabet())])}
    tokenizer = Qwen2Tokenizer(vocab=ids, merges=[], extra_special_tokens=special[1:])
    tokenizer.chat_template = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}<|im_start|>"
    return tokenizer


def qwen_image_pipeline() -> QwenImagePipeline:
    """All of Qwen-Image, 16 x 16 pixels in 4 x 4 latents of 4 channels and a frame."""
    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    text = {
        "hidden_size": WIDTH, "intermediate_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "vocab_size": len(tokenizer),
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 3, 3]},
    }  # fmt: skip
    vision = {
        "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": WIDTH,
        "fullatt_block_indexes": [0],
    }  # fmt: skip
    return QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=0.02),
        vae=AutoencoderKLQwenImage(
            base_dim=4, z_dim=4, dim_mult=[1, 2, 2], num_res_blocks=1, temperal_downsample=[False, True],
            latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.0, 2.0, 0.5, 1.5],
        ),
        text_encoder=Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision)),
        tokenizer=tokenizer,
        transformer=QwenImageTransformer2DModel(
            in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=WIDTH, axes_dims_rope=(4, 6, 6),
        ),
    )  # fmt: skip


def z_image_pipeline() -> ZImagePipeline:
    """All of Z-Image, 16 x 16 pixels in 4 x 4 latents of 4 channels."""
    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    encoder = Qwen3Config(
        hidden_size=WIDTH, intermediate_size=WIDTH, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, vocab_size=len(tokenizer),
    )  # fmt: skip
    pipeline = ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(),
        text_encoder=Qwen3Model(encoder),
        tokenizer=tokenizer,
        transformer=ZImageTransformer2DModel(
            in_channels=4, dim=48, n_layers=2, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=WIDTH,
            axes_dims=[8, 8, 8], axes_lens=[512, 128, 128],
        ),
    )  # fmt: skip
    for token in (pipeline.transformer.x_pad_token, pipeline.transformer.cap_pad_token):
        torch.nn.init.normal_(token)
    return pipeline


def flux_pipeline(*, distilled: bool) -> FluxPipeline:
    """All of FLUX.1, 16 x 16 pixels in 4 x 4 latents of 4 channels; `distilled` as dev is, else as schnell."""
    torch.manual_seed(0)
    clip, t5 = clip_tokenizer(), t5_tokenizer()
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=distilled),
        vae=autoencoder(),
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
def qwen_image(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    folder = tmp_path_factory.mktemp("qwen-image")
    qwen_image_pipeline().save_pretrained(folder)
    return ModelSettings(name=str(folder), image_size=16, max_sequence_length=LONGEST)


@pytest.fixture(scope="session")
def z_image(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    folder = tmp_path_factory.mktemp("z-image")
    z_image_pipeline().save_pretrained(folder)
    return ModelSettings(name=str(folder), image_size=16, max_sequence_length=LONGEST)


@pytest.fixture(scope="session")
def flux() -> Callable[[], FluxPipeline]:
    """Makes a FLUX.1 without embedded guidance, every time the same."""
    return lambda: flux_pipeline(distilled=False)
