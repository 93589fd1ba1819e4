"""An open_clip checkpoint of ViT-H-14 as a CLIPModel of transformers, tensor by tensor."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from advantageflow.errors import RewardError
from advantageflow.rewards.backbones.pretrained import build_model, renamed

HEADS = 16  # of both towers of ViT-H-14 (open_clip's model_configs/ViT-H-14.json); no tensor's shape says so

_NAMES = (
    (r"^visual\.transformer\.resblocks\.", "vision_model.encoder.layers."),
    (r"^transformer\.resblocks\.", "text_model.encoder.layers."),
    (r"\.ln_(\d)\.", r".layer_norm\1."),
    (r"\.attn\.out_proj\.", ".self_attn.out_proj."),
    (r"\.attn\.in_proj_", ".self_attn.in_proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"^visual\.class_embedding$", "vision_model.embeddings.class_embedding"),
    (r"^visual\.conv1\.", "vision_model.embeddings.patch_embedding."),
    (r"^visual\.positional_embedding$", "vision_model.embeddings.position_embedding.weight"),
    (r"^visual\.ln_pre\.", "vision_model.pre_layrnorm."),
    (r"^visual\.ln_post\.", "vision_model.post_layernorm."),
    (r"^visual\.proj$", "visual_projection.weight"),
    (r"^token_embedding\.", "text_model.embeddings.token_embedding."),
    (r"^positional_embedding$", "text_model.embeddings.position_embedding.weight"),
    (r"^ln_final\.", "text_model.final_layer_norm."),
    (r"^text_projection$", "text_projection.weight"),
)
_PROJECTIONS = ("visual_projection.weight", "text_projection.weight")
_COMPUTED = "attn_mask"  # a buffer that some versions save


def load_open_clip(state: Mapping[str, torch.Tensor], *, where: str) -> Any:
    """A CLIPModel in float32 from the state dict of open_clip's CLIP class, in any precision; `where` it is from, for
    errors. Raises RewardError: it is not of open_clip's ViT-H-14; names the tensor.
    """
    from transformers import CLIPModel

    return build_model(CLIPModel, _config(state, where), _tensors(state), where=where)


def _config(state: Mapping[str, torch.Tensor], where: str) -> Any:
    """The CLIPConfig that the shapes of an open_clip checkpoint say: 16 heads in both towers, exact GELU."""
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
        message = f"the checkpoint is not in the layout of open_clip's ViT-H-14: it has no proper {error}"
        remedy = "give HPS_v2.1_compressed.pt, or its state dict as .safetensors"
        raise RewardError(message, where=where, remedy=remedy) from error
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=projection)


def _tower(state: Mapping[str, torch.Tensor], tower: str, width: int, projection: int) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": state[f"{tower}.0.mlp.c_fc.weight"].shape[0],
        "num_hidden_layers": sum(name.startswith(f"{tower}.") and name.endswith(".ln_1.weight") for name in state),
        "num_attention_heads": HEADS,
        "projection_dim": projection,
        "hidden_act": "gelu",  # ViT-H-14 was trained with it, unlike OpenAI's own models (quick_gelu)
    }


def _tensors(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of an open_clip checkpoint by the names that CLIPModel has for them.

    open_clip packs query, key and value into one matrix, in this order, and its projections are applied from the right
    (x @ P), so that they are transposed for a linear layer.
    """
    tensors: dict[str, torch.Tensor] = {}
    for name, value in renamed(state, _NAMES).items():
        if ".in_proj." in name:
            for one, part in zip("qkv", value.chunk(3), strict=True):
                tensors[name.replace(".in_proj.", f".{one}_proj.")] = part.contiguous()
        elif name != _COMPUTED:
            tensors[name] = value.T.contiguous() if name in _PROJECTIONS else value
    return tensors
