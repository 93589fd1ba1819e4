"""The tiny Stable Diffusion 3 pipeline of the embedded world: every part of SD3.5's path, at 1/1000 of its size."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

from advantageflow.shapes.scenes import COLORS, IMAGE_SIZE, RELATIONS, SHAPES

TEXT_TOKENS = 10  # tokens of each tokenizer: the longest prompt has 8 words
LATENT_CHANNELS = 8
LATENT_SIZE = IMAGE_SIZE // 8
_CLIP_WIDTH = 64
_T5_WIDTH = 128
_EMBEDDING_STD = 0.5  # the usual 0.02 makes prompts nearly alike to an untrained model, which then ignores them
_SPECIAL = ("<pad>", "<unk>", "<bos>", "<eos>")


def vocabulary() -> list[str]:
    """Every token that prompts are made of, the special ones first."""
    plurals = [*(f"{s}s" for s in SHAPES), "crosses"]
    relation_words = [word for relation in RELATIONS for word in relation.split()]
    words = ["a", "an", "and", "one", "two", "three", "four", *SHAPES, *plurals, *COLORS, *relation_words]
    return [*_SPECIAL, *dict.fromkeys(words)]


def build_tokenizer(*, clip: bool) -> PreTrainedTokenizerFast:
    """A word-level tokenizer; CLIP's frames the prompt with <bos> and <eos>, T5's ends it with <eos>."""
    tokens = {token: k for k, token in enumerate(vocabulary())}
    core = Tokenizer(models.WordLevel(tokens, unk_token="<unk>"))  # noqa: S106 - a word of the vocabulary
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    frame = "<bos> $A <eos>" if clip else "$A <eos>"
    core.post_processor = processors.TemplateProcessing(
        single=frame, special_tokens=[("<bos>", tokens["<bos>"]), ("<eos>", tokens["<eos>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=TEXT_TOKENS,
        pad_token="<pad>",  # noqa: S106 - a word of the vocabulary
        unk_token="<unk>",  # noqa: S106 - a word of the vocabulary
        bos_token="<bos>",  # noqa: S106 - a word of the vocabulary
        eos_token="<eos>",  # noqa: S106 - a word of the vocabulary
    )


def build_vae() -> AutoencoderKL:
    """A factor-8 autoencoder, (3, 48, 48) to (8, 6, 6)."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 16, 32, 48),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=4,
        sample_size=IMAGE_SIZE,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
        scaling_factor=1.0,
        shift_factor=0.0,
    )


def build_text_encoders() -> tuple[CLIPTextModelWithProjection, CLIPTextModelWithProjection, T5EncoderModel]:
    """Two CLIP text encoders and a T5 encoder, as SD3.5 has."""
    tokens = vocabulary()
    common: dict[str, Any] = {
        "vocab_size": len(tokens),
        "pad_token_id": tokens.index("<pad>"),
        "bos_token_id": tokens.index("<bos>"),
        "eos_token_id": tokens.index("<eos>"),
    }
    clip_config = CLIPTextConfig(
        hidden_size=_CLIP_WIDTH,
        intermediate_size=2 * _CLIP_WIDTH,
        projection_dim=_CLIP_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=TEXT_TOKENS,
        **common,
    )
    t5_config = T5Config(
        d_model=_T5_WIDTH, d_kv=32, d_ff=256, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu", **common
    )
    clip_1, clip_2 = CLIPTextModelWithProjection(clip_config), CLIPTextModelWithProjection(clip_config)
    t5 = T5EncoderModel(t5_config)
    for encoder in (clip_1, clip_2, t5):
        torch.nn.init.normal_(encoder.get_input_embeddings().weight, std=_EMBEDDING_STD)
    return clip_1, clip_2, t5


def build_transformer(width: int = 128, layers: int = 5) -> SD3Transformer2DModel:
    """An MM-DiT over 9 image tokens, one for each cell of the scene's grid."""
    return SD3Transformer2DModel(
        sample_size=LATENT_SIZE,
        patch_size=2,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_layers=layers,
        attention_head_dim=32,
        num_attention_heads=width // 32,
        joint_attention_dim=_T5_WIDTH,
        caption_projection_dim=width,
        pooled_projection_dim=2 * _CLIP_WIDTH,
        pos_embed_max_size=LATENT_SIZE // 2,
        qk_norm="rms_norm",
    )


def build_pipeline() -> StableDiffusion3Pipeline:
    """The whole pipeline with random weights; seed torch first."""
    clip_1, clip_2, t5 = build_text_encoders()
    return StableDiffusion3Pipeline(
        transformer=build_transformer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=build_vae(),
        text_encoder=clip_1,
        tokenizer=build_tokenizer(clip=True),
        text_encoder_2=clip_2,
        tokenizer_2=build_tokenizer(clip=True),
        text_encoder_3=t5,
        tokenizer_3=build_tokenizer(clip=False),
    )
