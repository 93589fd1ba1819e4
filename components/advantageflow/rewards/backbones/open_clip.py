"""An open_clip checkpoint of ViT-H-14 as a CLIPModel of transformers, tensor by tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from advantageflow.errors import RewardError
from advantageflow.rewards.backbones.pretrained import build_model

HEADS = 16  # of both towers of ViT-H-14 (open_clip's model_configs/ViT-H-14.json); no tensor's shape says so

_TOWERS = {
    "visual.transformer.resblocks": "vision_model.encoder.layers",
    "transformer.resblocks": "text_model.encoder.layers",
}
_LAYERS = {
    "ln_1": "layer_norm1",
    "attn.out_proj": "self_attn.out_proj",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_NAMES = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "logit_scale": "logit_scale",
}
_PROJECTIONS = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}
_COMPUTED = frozenset({"attn_mask"})  # a buffer that some versions save


def load_open_clip(state: Mapping[str, torch.Tensor], *, where: str) -> Any:
    """A CLIPModel in float32.

    Args:
        state: state dict of open_clip's CLIP class, any precision.
        where: what it comes from, for errors.

    Raises:
        RewardError: it is not of open_clip's ViT-H-14; names the tensor.
    """
    from transformers import CLIPModel

    config = clip_config(state, where=where)
    return build_model(CLIPModel, config, clip_tensors(state, where=where), where=where)


def clip_config(state: Mapping[str, torch.Tensor], *, where: str) -> Any:
    """The CLIPConfig that the shapes of an open_clip checkpoint say: 16 heads in both towers, exact GELU.

    Raises:
        RewardError: a tensor that it is read off is not there.
    """
    from transformers import CLIPConfig

    try:
        vocabulary, text_width = state["token_embedding.weight"].shape
        vision_width, _, patch, _ = state["visual.conv1.weight"].shape
        positions = state["visual.positional_embedding"].shape[0]
        projection = state["text_projection"].shape[1]
        text = {
            "vocab_size": vocabulary,
            "max_position_embeddings": state["positional_embedding"].shape[0],
            "eos_token_id": vocabulary - 1,  # the highest id, which open_clip finds by argmax
            "bos_token_id": vocabulary - 2,
            **_tower(state, "transformer.resblocks", text_width, projection),
        }
        vision = {
            "patch_size": patch,
            "image_size": patch * math.isqrt(positions - 1),
            **_tower(state, "visual.transformer.resblocks", vision_width, projection),
        }
    except (KeyError, ValueError) as error:
        raise _other_layout(f"has no proper {error}", where) from error
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=projection)


def clip_tensors(state: Mapping[str, torch.Tensor], *, where: str) -> dict[str, torch.Tensor]:
    """The tensors of an open_clip checkpoint by the names that CLIPModel has for them.

    open_clip packs query, key and value into one matrix, in this order, and its projections are applied from the right
    (x @ P), so that they are transposed for a linear layer.

    Raises:
        RewardError: a tensor is not open_clip's; names it.
    """
    tensors: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        if name in _NAMES:
            tensors[_NAMES[name]] = value
        elif name in _PROJECTIONS:
            tensors[_PROJECTIONS[name]] = value.T.contiguous()
        elif name not in _COMPUTED:
            tensors |= _layer_tensors(name, value, where)
    return tensors


def _layer_tensors(name: str, value: torch.Tensor, where: str) -> dict[str, torch.Tensor]:
    """One tensor of a transformer layer: 'transformer.resblocks.3.attn.in_proj_bias' becomes three."""
    for tower, target in _TOWERS.items():
        number, _, rest = name.removeprefix(f"{tower}.").partition(".")
        if not name.startswith(f"{tower}.") or not number.isdigit():
            continue
        part, _, kind = rest.rpartition(".")
        if part in _LAYERS:
            return {f"{target}.{number}.{_LAYERS[part]}.{kind}": value}
        if rest in ("attn.in_proj_weight", "attn.in_proj_bias"):
            kind = rest.removeprefix("attn.in_proj_")
            packed = zip("qkv", value.chunk(3), strict=True)
            return {f"{target}.{number}.self_attn.{one}_proj.{kind}": part.contiguous() for one, part in packed}
    raise _other_layout(f"has a tensor '{name}'", where)


def _tower(state: Mapping[str, torch.Tensor], tower: str, width: int, projection: int) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": state[f"{tower}.0.mlp.c_fc.weight"].shape[0],
        "num_hidden_layers": sum(name.startswith(f"{tower}.") and name.endswith(".ln_1.weight") for name in state),
        "num_attention_heads": HEADS,
        "projection_dim": projection,
        "hidden_act": "gelu",  # ViT-H-14 was trained with it, unlike OpenAI's own models (quick_gelu)
    }


def _other_layout(problem: str, where: str) -> RewardError:
    message = f"the checkpoint is not in the layout of open_clip's ViT-H-14: it {problem}"
    return RewardError(message, where=where, remedy="give HPS_v2.1_compressed.pt, or its state dict as .safetensors")
