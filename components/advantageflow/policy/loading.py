"""Loads the parts of a Stable Diffusion 3 pipeline, each stage only those that it uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from advantageflow.errors import PolicyError
from advantageflow.settings import ModelSettings

if TYPE_CHECKING:
    import torch
    from diffusers import AutoencoderKL, SD3Transformer2DModel

EMBEDDED_MODEL = Path(__file__).parent.parent / "shapes" / "model"
_ENCODE_BATCH = 256


def model_location(model: ModelSettings) -> str:
    """The embedded model's folder, a local folder, or the hub id as given.

    Raises:
        PolicyError: the name is a folder without a diffusers pipeline in it.
    """
    if model.name == "shapes":
        if not (EMBEDDED_MODEL / "model_index.json").exists():
            raise PolicyError(
                "the embedded model is not installed", where=str(EMBEDDED_MODEL), remedy="reinstall the package"
            )
        return str(EMBEDDED_MODEL)
    folder = Path(model.name)
    if folder.exists() and not (folder / "model_index.json").exists():
        raise PolicyError(
            "the folder holds no diffusers pipeline (no model_index.json)",
            where=str(folder),
            remedy="name a folder written by save_pretrained, or a hub id",
        )
    return model.name


def check_device(model: ModelSettings) -> None:
    """Raises PolicyError if CUDA is asked for and there is none: never a silent run on the CPU."""
    import torch

    if model.device == "cuda" and not torch.cuda.is_available():
        raise PolicyError(
            "a GPU is asked for (model.device = cuda) but torch sees none",
            where="model.device",
            remedy="run on a GPU node with a CUDA build of torch, or set model.device=cpu",
        )


def load_transformer(model: ModelSettings) -> SD3Transformer2DModel:
    """The velocity model, frozen, in model.dtype on model.device."""
    from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel

    return _load(SD3Transformer2DModel, model, "transformer")


def load_vae(model: ModelSettings) -> AutoencoderKL:
    """The autoencoder, frozen, in model.dtype on model.device."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    return _load(AutoencoderKL, model, "vae")


def _load(kind: Any, model: ModelSettings, subfolder: str) -> Any:
    import torch

    check_device(model)
    place = model_location(model)
    try:
        module = kind.from_pretrained(
            place,
            subfolder=subfolder,
            revision=model.revision,
            torch_dtype=getattr(torch, model.dtype),
            low_cpu_mem_usage=False,
        )
    except (OSError, ValueError) as error:
        raise _unloadable(model, subfolder, error) from error
    return module.requires_grad_(False).eval().to(model.device)


def _unloadable(model: ModelSettings, part: str, error: Exception) -> PolicyError:
    return PolicyError(
        f"cannot load the {part}: {str(error).splitlines()[0]}",
        where=model.name,
        remedy="check the name; for a gated hub model accept its licence and log in with `hf auth login`",
    )


def _absent_parts(index: Mapping[str, Any]) -> list[str]:
    """Parts that a model_index.json says are not there: no library and no class."""
    return [name for name, value in index.items() if isinstance(value, list | tuple) and list(value) == [None, None]]


def latent_shape(model: ModelSettings) -> tuple[int, int, int]:
    """(channels, height, width) of the latents at the model's own image size, from its configuration alone."""
    config = _transformer_config(model)
    size = int(config["sample_size"])
    return int(config["in_channels"]), size, size


def _text_width(model: ModelSettings) -> int:
    return int(_transformer_config(model)["joint_attention_dim"])


def _transformer_config(model: ModelSettings) -> dict[str, Any]:
    """The transformer's config.json, from the folder or the hub."""
    from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel

    config: dict[str, Any] = SD3Transformer2DModel.load_config(
        model_location(model), subfolder="transformer", revision=model.revision
    )
    return config


def encode_prompts(model: ModelSettings, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Text embeddings by SD3's three encoders: (N, L, D) and pooled (N, P), float32 on the CPU.

    L is CLIP's length plus model.max_sequence_length T5 tokens; without a T5 encoder it is CLIP's alone.
    """
    import torch
    from diffusers import StableDiffusion3Pipeline

    check_device(model)
    place = model_location(model)
    try:
        # An absent part must be passed as None, or diffusers looks for its folder.
        index = StableDiffusion3Pipeline.load_config(place, revision=model.revision)
        absent = dict.fromkeys([*_absent_parts(index), "transformer", "vae"])
        pipeline = StableDiffusion3Pipeline.from_pretrained(
            place, revision=model.revision, torch_dtype=getattr(torch, model.dtype), **absent
        ).to(model.device)
    except (OSError, ValueError) as error:
        raise _unloadable(model, "text encoders", error) from error
    length = model.max_sequence_length if pipeline.text_encoder_3 is not None else 0
    if pipeline.text_encoder_3 is None:  # the pipeline asks its transformer how wide T5's absent embeddings would be
        pipeline.transformer = SimpleNamespace(config=SimpleNamespace(joint_attention_dim=_text_width(model)))
    embeds, pooled = [], []
    with torch.inference_mode():
        for start in range(0, len(texts), _ENCODE_BATCH):
            chunk = list(texts[start : start + _ENCODE_BATCH])
            prompt, _, pool, _ = pipeline.encode_prompt(
                chunk, None, None, do_classifier_free_guidance=False, max_sequence_length=length
            )
            embeds.append(prompt.float().cpu())
            pooled.append(pool.float().cpu())
    return torch.cat(embeds), torch.cat(pooled)
