"""Loads the parts of a diffusers pipeline, each stage only those that it uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from advantageflow.errors import PolicyError, SettingsError
from advantageflow.policy.location import EMBEDDED_MODEL, INDEX, model_location, part_location, read_file, unloadable
from advantageflow.settings import ModelSettings

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

    from advantageflow.policy.families import Family

__all__ = [
    "EMBEDDED_MODEL", "check_device", "latent_shape", "load_family",
    "load_transformer", "load_vae", "model_location",
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
    from advantageflow.policy.families import Flux, StableDiffusion3, find_family

    name = str(read_file(model, INDEX).get("_class_name"))
    family = find_family(name, model.embedded_guidance)
    if family is None:
        known = ", ".join(kind.pipeline for kind in (StableDiffusion3, Flux))
        remedy = f"give a model of one of these pipelines: {known}"
        raise PolicyError(
            f"its pipeline is {name}, which is not supported", where=f"{model.name}: {INDEX}", remedy=remedy
        )
    return family


def load_transformer(model: ModelSettings) -> Any:
    """The velocity model, frozen, in model.dtype on model.device.

    Raises:
        PolicyError: it cannot be loaded.
    """
    return _load(load_family(model).transformer_class(), model, "transformer")


def load_vae(model: ModelSettings) -> AutoencoderKL:
    """The autoencoder, frozen, in model.dtype on model.device.

    Raises:
        PolicyError: it cannot be loaded.
    """
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    return _load(AutoencoderKL, model, "vae")


def _load(kind: Any, model: ModelSettings, part: str) -> Any:
    import torch

    check_device(model)
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


def latent_shape(model: ModelSettings) -> tuple[int, int, int]:
    """(channels, height, width) of the latents, from configurations alone.

    Raises:
        PolicyError: a configuration cannot be loaded.
        SettingsError: model.image_size is none that the model can make.
    """
    family, config = load_family(model), read_file(model, "transformer/config.json")
    size, largest, multiple = family.latent_sizes(config)
    if model.image_size is not None:
        factor = 2 ** (len(read_file(model, "vae/config.json")["block_out_channels"]) - 1)
        size, rest = divmod(model.image_size, factor)
        if rest or size % multiple or size > largest:
            remedy = f"give a multiple of {factor * multiple}, at most {factor * largest}"
            raise SettingsError(
                f"the model makes no images of {model.image_size} pixels", where="model.image_size", remedy=remedy
            )
    return family.latent_channels(config), size, size
