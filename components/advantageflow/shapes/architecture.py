"""The tiny Stable Diffusion 3 pipeline of the embedded world, with random weights: what the files in model/ describe.

It has every part of SD3.5's path at 1/1000 of its size: a factor-8 autoencoder, (3, 48, 48) to (8, 6, 6); two CLIP text
encoders and a T5; an MM-DiT over 9 image tokens, one for each cell of a scene's grid; word-level tokenizers, of which
CLIP's frame a prompt with <bos> and <eos>, and T5's ends it with <eos>.
"""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from advantageflow.shapes.scenes import IMAGE_SIZE

TEXT_TOKENS = 10  # tokens of each tokenizer: the longest prompt has 8 words
LATENT_CHANNELS = 8
LATENT_SIZE = IMAGE_SIZE // 8
_MODEL = Path(__file__).with_name("model")
_EMBEDDING_STD = 0.5  # the usual 0.02 makes prompts nearly alike to an untrained model, which then ignores them


def build_tokenizer(*, clip: bool) -> PreTrainedTokenizerFast:
    """CLIP's tokenizer or T5's, of the words that prompts are made of."""
    return PreTrainedTokenizerFast.from_pretrained(_MODEL / ("tokenizer" if clip else "tokenizer_3"))


def build_vae() -> AutoencoderKL:
    """The autoencoder, its latents not yet normalised."""
    config = AutoencoderKL.load_config(_MODEL / "vae")
    return AutoencoderKL.from_config({**config, "scaling_factor": 1.0, "shift_factor": 0.0})


def build_text_encoders() -> tuple[CLIPTextModelWithProjection, CLIPTextModelWithProjection, T5EncoderModel]:
    """The two CLIP text encoders and T5's."""
    config = CLIPTextConfig.from_pretrained(_MODEL / "text_encoder", dtype="float32")
    clip_1, clip_2 = CLIPTextModelWithProjection(config), CLIPTextModelWithProjection(config)
    t5 = T5EncoderModel(T5Config.from_pretrained(_MODEL / "text_encoder_3", dtype="float32"))
    for encoder in (clip_1, clip_2, t5):
        torch.nn.init.normal_(encoder.get_input_embeddings().weight, std=_EMBEDDING_STD)
    return clip_1, clip_2, t5


def build_transformer(width: int = 128, layers: int = 5) -> SD3Transformer2DModel:
    """The transformer, or one of another width (a multiple of 32) and depth."""
    config = SD3Transformer2DModel.load_config(_MODEL / "transformer")
    size = {"num_layers": layers, "num_attention_heads": width // 32, "caption_projection_dim": width}
    return SD3Transformer2DModel.from_config({**config, **size})


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
