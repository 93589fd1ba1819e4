"""ImageReward's network (BLIP's image encoder, its text encoder with cross attention, a head) and its checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from advantageflow.errors import RewardError
from advantageflow.rewards.backbones.linear_head import LinearHead
from advantageflow.rewards.backbones.pretrained import build_model

MEAN, STD = 0.16717362830052426, 1.0333394966054072  # of raw rewards, as the package has them
VISION_HEADS, TEXT_HEADS = 16, 12  # of BLIP's ViT-L and of med_config.json; no tensor's shape says so

_VISION, _TEXT, _HEAD = "blip.visual_encoder.", "blip.text_encoder.", "mlp."
_COMPUTED = "embeddings.position_ids"  # a buffer that the original saves
_VISION_NAMES = {
    "cls_token": "embeddings.class_embedding",
    "pos_embed": "embeddings.position_embedding",
    "patch_embed.proj": "embeddings.patch_embedding",
    "norm": "post_layernorm",
}
_VISION_LAYERS = {
    "norm1": "layer_norm1",
    "attn.qkv": "self_attn.qkv",
    "attn.proj": "self_attn.projection",
    "norm2": "layer_norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


class ImageRewardModel(nn.Module):
    """Scores pairs of an image and a prompt.

    Source: ImageReward.score of THUDM/ImageReward. The first token of the text, after cross attention to all patches of
    the image, goes through the head; the result is standardised.

    Args:
        vision: a BlipVisionModel.
        text: a BlipTextModel with cross attention and without a pooler.
        head: the head on the text's first token; computes in float32.
    """

    def __init__(self, vision: Any, text: Any, head: LinearHead) -> None:
        super().__init__()
        self.vision, self.text, self.head = vision, text, head

    def forward(self, pixels: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(N, 3, side, side), (N, L) and (N, L) to the scores (N,), float32."""
        patches = self.vision(pixel_values=pixels).last_hidden_state
        hidden = self.text(input_ids=ids, attention_mask=mask, encoder_hidden_states=patches).last_hidden_state
        return (self.head(hidden[:, 0].float()) - MEAN) / STD


def load_image_reward(state: Mapping[str, torch.Tensor], *, where: str) -> ImageRewardModel:
    """The network in float32 from the state dict of ImageReward.pt.

    Args:
        state: the state dict, any precision.
        where: what it comes from, for errors.

    Raises:
        RewardError: it is not ImageReward's; names the tensor.
    """
    from transformers import BlipTextModel, BlipVisionModel

    vision, text, head = split_tensors(state, where=where)
    try:
        vision_config, text_config = blip_configs(vision, text)
    except (KeyError, ValueError) as error:
        raise _other_layout(f"has no proper {error}", where) from error
    return ImageRewardModel(
        build_model(BlipVisionModel, vision_config, vision, where=where),
        build_model(BlipTextModel, text_config, text, where=where, add_pooling_layer=False),
        LinearHead.of(head, where=where),
    )


def split_tensors(
    state: Mapping[str, torch.Tensor], *, where: str
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The tensors of the two encoders by the names that transformers has for them, and those of the head as they are.

    The text encoder's names are the same; both sides pack query, key and value of the image encoder alike. What the
    checkpoint has beside the three (BLIP's projections) is not read, as in the original.

    Raises:
        RewardError: a tensor of the image encoder is not BLIP's; names it.
    """
    vision: dict[str, torch.Tensor] = {}
    text: dict[str, torch.Tensor] = {}
    head: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        if name.startswith(_VISION):
            vision[_vision_name(name.removeprefix(_VISION), where)] = value
        elif name.startswith(_TEXT):
            text[name.removeprefix(_TEXT)] = value
        elif name.startswith(_HEAD):
            head[name.removeprefix(_HEAD)] = value
    text.pop(_COMPUTED, None)
    return vision, text, head


def blip_configs(vision: Mapping[str, torch.Tensor], text: Mapping[str, torch.Tensor]) -> tuple[Any, Any]:
    """BlipVisionConfig and BlipTextConfig that the shapes of split_tensors() say.

    Heads and layer norms are those of BLIP's ViT-L (1e-6) and of ImageReward's med_config.json (1e-12).

    Raises:
        KeyError: a tensor that they are read off is not there.
    """
    from transformers import BlipTextConfig, BlipVisionConfig

    width, _, patch, _ = vision["embeddings.patch_embedding.weight"].shape
    positions = vision["embeddings.position_embedding"].shape[1]
    vocabulary, text_width = text["embeddings.word_embeddings.weight"].shape
    return (
        BlipVisionConfig(
            hidden_size=width,
            intermediate_size=vision["encoder.layers.0.mlp.fc1.weight"].shape[0],
            num_hidden_layers=sum(name.endswith(".layer_norm1.weight") for name in vision),
            num_attention_heads=VISION_HEADS,
            image_size=patch * math.isqrt(positions - 1),
            patch_size=patch,
            hidden_act="gelu",
            layer_norm_eps=1e-6,
        ),
        BlipTextConfig(
            vocab_size=vocabulary,
            hidden_size=text_width,
            encoder_hidden_size=width,
            intermediate_size=text["encoder.layer.0.intermediate.dense.weight"].shape[0],
            num_hidden_layers=sum(name.endswith(".intermediate.dense.weight") for name in text),
            num_attention_heads=TEXT_HEADS,
            max_position_embeddings=text["embeddings.position_embeddings.weight"].shape[0],
            hidden_act="gelu",
            layer_norm_eps=1e-12,
            is_decoder=True,  # what gives the layers their cross attention; self-attention stays bidirectional
        ),
    )


def _vision_name(name: str, where: str) -> str:
    """'blocks.3.attn.qkv.bias' becomes 'encoder.layers.3.self_attn.qkv.bias'."""
    if name in _VISION_NAMES:
        return _VISION_NAMES[name]
    part, _, kind = name.rpartition(".")
    if part in _VISION_NAMES:
        return f"{_VISION_NAMES[part]}.{kind}"
    blocks, _, rest = part.partition(".")
    number, _, layer = rest.partition(".")
    if blocks == "blocks" and number.isdigit() and layer in _VISION_LAYERS:
        return f"encoder.layers.{number}.{_VISION_LAYERS[layer]}.{kind}"
    raise _other_layout(f"has a tensor '{_VISION}{name}'", where)


def _other_layout(problem: str, where: str) -> RewardError:
    message = f"the checkpoint is not in the layout of ImageReward: it {problem}"
    return RewardError(message, where=where, remedy="give ImageReward.pt, or its state dict as .safetensors")
