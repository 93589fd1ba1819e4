"""Where tests have the rollout stage write."""

from __future__ import annotations

from pathlib import Path


def outputs_in(folder: Path) -> dict[str, Path]:
    """The stage's outputs, each in a folder of its name."""
    return {"rollouts_out": folder / "rollouts", "latents_out": folder / "latents"}
