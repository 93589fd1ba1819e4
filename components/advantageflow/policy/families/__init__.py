"""Families of models, and which one a diffusers pipeline belongs to."""

from __future__ import annotations

from advantageflow.policy.families.base import Encoded, Family
from advantageflow.policy.families.flux import Flux
from advantageflow.policy.families.stable_diffusion_3 import STABLE_DIFFUSION_3, StableDiffusion3

__all__ = ["STABLE_DIFFUSION_3", "Encoded", "Family", "Flux", "StableDiffusion3", "find_family"]


def find_family(pipeline: str, guidance: float) -> Family | None:
    """The family of a diffusers pipeline class, or None; `guidance` is that of a distilled model."""
    families = (STABLE_DIFFUSION_3, Flux(guidance))
    return next((family for family in families if family.pipeline == pipeline), None)
