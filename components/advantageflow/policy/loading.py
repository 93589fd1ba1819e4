"""Loads the parts of a diffusers pipeline, each stage only those that it uses."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from advantageflow.errors import PolicyError, SettingsError
from advantageflow.policy.location import EMBEDDED_MODEL, INDEX, model_location, part_location, read_file, unloadable
from advantageflow.settings import ModelSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from advantageflow.policy.families import Family, LatentSizes

__all__ = [
    "EMBEDDED_MODEL", "check_device", "latent_shape", "load_family",
    "load_transformer", "load_vae", "model_location", "read_configs", "shape_of",
]  # fmt: skip


def check_device(model: ModelSettings) -> None:
    """Raises PolicyError if CUDA is asked for and there is none: never a silent run on the CPU."""
    import torch

    if model.device == "cuda" and not torch.cuda.is_available():
        raise PolicyError(
            "a GPU is asked for (model.device = cuda) but torch sees none",
            where="model.device",
            remedy="run on a GPU node with a CUDA build of torch, or set model.device=cpu",
        )


def load_family(model: ModelSettings) -> Family:
    """The family that the model's model_index.json names.

    Raises:
        PolicyError: the model is not there, or is of a family that is not supported.
    """
    from advantageflow.policy.families import find_family

    return find_family(str(read_file(model, INDEX).get("_class_name")), model, f"{model.name}: {INDEX}")


def load_transformer(model: ModelSettings) -> Any:
    """The velocity model, frozen, in model.dtype on model.device; its blocks compiled where the settings say so.

    Raises:
        PolicyError: it cannot be loaded, or compiled.
    """
    family = load_family(model)
    transformer = _load(family.transformer_class(), model, "transformer")
    if model.compiled:
        from advantageflow.policy.compiling import compile_blocks

        compile_blocks(transformer, family)
    return transformer


def load_vae(model: ModelSettings) -> Any:
    """The autoencoder, frozen, in model.dtype on model.device.

    Raises:
        PolicyError: it cannot be loaded.
    """
    return _load(load_family(model).autoencoder_class(), model, "vae")


def _load(kind: Any, model: ModelSettings, part: str) -> Any:
    import torch

    check_device(model)
    logging.getLogger("diffusers.models.modeling_utils").addFilter(_matters)
    place, options = part_location(model, part)
    try:
        module = kind.from_pretrained(
            place,
            torch_dtype=getattr(torch, model.dtype),
            # Saves a large model its random start and a second copy; for the embedded one it costs more than it saves.
            low_cpu_mem_usage=model.name != "shapes",
            **options,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise unloadable(model, f"the {part}", error) from error
    return module.requires_grad_(False).eval().to(model.device)


def _matters(record: logging.LogRecord) -> bool:
    """Whether diffusers says anything: it warns of modules that should be kept in float32 where there are none, too."""
    return "kept in float32: []" not in record.getMessage()


def read_configs(model: ModelSettings, parts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The config.json of parts of the model, by the part.

    Raises:
        PolicyError: one cannot be read.
    """
    return {part: read_file(model, f"{part}/config.json") for part in parts}


def latent_shape(model: ModelSettings) -> tuple[int, ...]:
    """Channels, frames where there are some, height and width of the latents, from configurations alone.

    Raises:
        PolicyError: a configuration cannot be loaded.
        SettingsError: model.image_size is none that the model can make.
    """
    return shape_of(load_family(model).latent_sizes(read_configs(model, ["transformer", "vae"])), model.image_size)


def shape_of(sizes: LatentSizes, image_size: int | None) -> tuple[int, ...]:
    """The shape of latents at an image size, or at the model's own.

    Raises:
        SettingsError: the image size is none that the model can make.
    """
    if image_size is None:
        return *sizes.leading, sizes.usual, sizes.usual
    height, rest = divmod(image_size, sizes.pixels)
    if rest or height % sizes.multiple or height > sizes.largest:
        unit = sizes.pixels * sizes.multiple
        remedy = f"give a multiple of {unit}, at most {sizes.pixels * sizes.largest}"
        raise SettingsError(
            f"the model makes no images of {image_size} pixels", where="model.image_size", remedy=remedy
        )
    return *sizes.leading, height, height
