"""Loads the parts of a diffusers pipeline, each stage only those that it uses, and compiles transformer blocks.

Blocks are compiled each by itself, so that those of a kind share the code; what is around them is not. Most of a
block's time on a GPU goes to passes over memory between its matrix products (norms, gates, residuals), which the
compiler joins. What it has compiled is kept for the processes that come after (compiler_cache.py).
"""

from __future__ import annotations

import logging
import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from advantageflow.errors import PolicyError
from advantageflow.policy.compiler_cache import use_compiler_cache
from advantageflow.policy.location import EMBEDDED_MODEL as EMBEDDED_MODEL  # where exported model cards have it from
from advantageflow.policy.location import INDEX, part_location, read_file, unloadable
from advantageflow.settings import ModelSettings

if TYPE_CHECKING:
    from torch import nn

    from advantageflow.policy.families import Family

_VERSIONS = 64  # of a compiled block: its kinds, times adapters, times shapes, with and without gradient
_COMPILERS = {"cuda": ("CC", "gcc", "clang"), "cpu": ("CXX", "g++", "clang++")}


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
    from advantageflow.policy.norms import fuse_norms

    family = load_family(model)
    transformer = _load(family.transformer_class(), model, "transformer")
    fuse_norms(transformer)
    if model.compiled:
        compile_blocks(transformer, family)
    return transformer


def load_vae(model: ModelSettings) -> Any:
    """The autoencoder, frozen, in model.dtype on model.device; beside compiled blocks with channels last, which
    convolutions compute faster, rounded elsewhere.

    Raises:
        PolicyError: it cannot be loaded.
    """
    import torch

    vae = _load(load_family(model).autoencoder_class(), model, "vae")
    return vae.to(memory_format=torch.channels_last) if model.compiled else vae


def _load(kind: Any, model: ModelSettings, part: str) -> Any:
    import torch

    check_device(model)
    logging.getLogger("diffusers.models.modeling_utils").addFilter(_matters)
    place, options = part_location(model, part)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # diffusers leaves Python to close what is not mapped
            module = kind.from_pretrained(
                place,
                dtype=getattr(torch, model.dtype),
                # Saves a large model its random start and a second copy; for the embedded one it costs more.
                low_cpu_mem_usage=model.name != "shapes",
                disable_mmap=model.name == "shapes",
                **options,
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise unloadable(model, f"the {part}", error) from error
    return module.requires_grad_(False).eval().to(model.device)


def _matters(record: logging.LogRecord) -> bool:
    """Whether diffusers says anything: it warns of modules that should be kept in float32 where there are none, too."""
    return "kept in float32: []" not in record.getMessage()


def compile_blocks(transformer: nn.Module, family: Family, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile the blocks of a transformer, at their first call.

    Raises:
        PolicyError: the family names no blocks that this transformer has; or there is no C compiler.
    """
    import torch

    blocks = [module for module in transformer.modules() if type(module).__name__ in family.blocks]
    if not blocks:
        message = f"{type(family).__name__} names no blocks that {type(transformer).__name__} has"
        remedy = "name them in the family's `blocks`, or set model.compile to false"
        raise PolicyError(message, where="model.compile", remedy=remedy)
    variable, *usual = _COMPILERS[next(transformer.parameters()).device.type]
    named = os.environ.get(variable)
    if not any(map(shutil.which, [named] if named else usual)):
        message = f"there is no C compiler ({named or ' or '.join(usual)}), which torch.compile needs"
        remedy = f"install {usual[0]}, or set model.compile to false"
        raise PolicyError(message, where="model.compile", remedy=remedy)
    use_compiler_cache()
    torch._dynamo.config.recompile_limit = _VERSIONS
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    for block in blocks:
        block.compile(fullgraph=True, backend=backend)


def read_configs(model: ModelSettings, parts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The config.json of parts of the model, by the part; raises PolicyError where one cannot be read."""
    return {part: read_file(model, f"{part}/config.json") for part in parts}


def latent_shape(model: ModelSettings) -> tuple[int, ...]:
    """Channels, frames where there are some, height and width of the latents, from configurations alone.

    Raises:
        PolicyError: a configuration cannot be loaded.
        SettingsError: model.image_size is none that the model can make.
    """
    return load_family(model).latent_sizes(read_configs(model, ["transformer", "vae"])).shape(model.image_size)
