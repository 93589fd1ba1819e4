"""Families of models: a file for each here, and its line in FAMILIES."""

from __future__ import annotations

from importlib import import_module

from advantageflow.errors import PolicyError
from advantageflow.policy.families.base import Configs, Family, LatentSizes
from advantageflow.settings import ModelSettings

__all__ = ["FAMILIES", "Configs", "Family", "LatentSizes", "find_family"]

FAMILIES = {
    "StableDiffusion3Pipeline": "stable_diffusion_3:StableDiffusion3",
    "FluxPipeline": "flux:Flux",
    "QwenImagePipeline": "qwen_image:QwenImage",
    "ZImagePipeline": "z_image:ZImage",
}
"""File and class of each family, by the diffusers pipeline that model_index.json names."""


def find_family(pipeline: str, model: ModelSettings, where: str) -> Family:
    """The family of a diffusers pipeline.

    Args:
        pipeline: name of its class.
        model: with what a family may be told.
        where: the pipeline is named, for the error.

    Raises:
        PolicyError: the pipeline is of no family here.
    """
    if pipeline not in FAMILIES:
        remedy = f"give a model of one of these pipelines: {', '.join(FAMILIES)}"
        raise PolicyError(f"its pipeline is {pipeline}, which is not supported", where=where, remedy=remedy)
    module, name = FAMILIES[pipeline].split(":")
    kind: type[Family] = getattr(import_module(f"{__name__}.{module}"), name)
    return kind.of(model)
