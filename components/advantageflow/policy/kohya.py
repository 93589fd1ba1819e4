"""Layers of adapters in kohya's layout: `lora_unet_<layer, _ for .>.lora_down.weight`, `.lora_up.weight`, `.alpha`."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from advantageflow.errors import PolicyError

KOHYA_PREFIXES = ("lora_unet_", "lora_transformer_")
_PARTS = ("lora_down.weight", "lora_up.weight", "alpha")
# Stability AI's names of an MM-DiT's layers, and diffusers'; a fused one becomes three, which share their down matrix.
_MMDIT = {
    "x_block_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "x_block_attn_proj": ("attn.to_out.0",),
    "x_block_attn2_qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    "x_block_attn2_proj": ("attn2.to_out.0",),
    "x_block_mlp_fc1": ("ff.net.0.proj",),
    "x_block_mlp_fc2": ("ff.net.2",),
    "x_block_adaLN_modulation_1": ("norm1.linear",),
    "context_block_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "context_block_attn_proj": ("attn.to_add_out",),
    "context_block_mlp_fc1": ("ff_context.net.0.proj",),
    "context_block_mlp_fc2": ("ff_context.net.2",),
    "context_block_adaLN_modulation_1": ("norm1_context.linear",),
}
_JOINT_BLOCK = re.compile(r"joint_blocks_(\d+)_(\w+)")


def layers_of_kohya(
    tensors: Mapping[str, Tensor], layers: Mapping[str, tuple[int, int]], pipeline: str, file: Path
) -> dict[str, Tensor]:
    """The same tensors by names of the model's own layers, with their suffixes.
    Raises PolicyError: it names a layer that nobody knows.

    A layer is named after diffusers' or, for Stable Diffusion 3, after Stability AI's names; other names of the
    authors' own models are left to diffusers, which knows those of the pipeline.
    """
    own = {name.replace(".", "_"): name for name in layers}
    renamed: dict[str, Tensor] = {}
    for layer, parts in _by_layer(tensors, file).items():
        if layer in own:
            renamed |= {f"{own[layer]}.{part}": value for part, value in parts.items()}
        elif block := _JOINT_BLOCK.fullmatch(layer):
            renamed |= dict(_of_joint_block(int(block[1]), block[2], parts, layers, file))
        else:
            return _by_diffusers(tensors, pipeline, file)
    return renamed


def _by_layer(tensors: Mapping[str, Tensor], file: Path) -> dict[str, dict[str, Tensor]]:
    found: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        layer, _, part = key.partition(".")
        if part not in _PARTS:
            remedy = "give a LoRA adapter of linear layers, all in one layout"
            raise PolicyError(f"'{key}' is not a part of an adapter in kohya's layout", where=str(file), remedy=remedy)
        found.setdefault(re.sub("^lora_(unet|transformer)_", "", layer), {})[part] = value
    return found


def _of_joint_block(
    number: int, layer: str, parts: Mapping[str, Tensor], layers: Mapping[str, tuple[int, int]], file: Path
) -> Iterator[tuple[str, Tensor]]:
    names = [f"transformer_blocks.{number}.{name}" for name in _MMDIT.get(layer, ())]
    last = f"transformer_blocks.{number + 1}.attn.to_q" not in layers
    if not names or (last and layer == "context_block_adaLN_modulation_1"):  # the last one's rows are in another order
        message = f"what layer 'joint_blocks_{number}_{layer}' is, is not known"
        raise PolicyError(message, where=str(file), remedy="leave that layer out of the adapter")
    for part, value in parts.items():
        pieces = value.chunk(len(names)) if part == "lora_up.weight" else [value] * len(names)
        yield from ((f"{name}.{part}", piece) for name, piece in zip(names, pieces, strict=True))


def _by_diffusers(tensors: Mapping[str, Tensor], pipeline: str, file: Path) -> dict[str, Tensor]:
    import diffusers

    try:
        converted = getattr(diffusers, pipeline).lora_state_dict(dict(tensors))
    except (ValueError, KeyError, AttributeError) as error:
        remedy = "set model.name to the model that the adapter was made for"
        message = f"its layers are not those of a {pipeline}: {error}"
        raise PolicyError(message, where=str(file), remedy=remedy) from error
    return {name.removeprefix("transformer."): value for name, value in converted.items()}
