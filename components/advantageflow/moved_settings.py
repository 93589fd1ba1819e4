"""Settings that have moved: what is written today instead of an old key."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

_NOW = {
    "TrainingSettings": {
        "algorithm": "training.objective; instead of advantage_weighted: advantage_flow with training.objective.lam 0",
        "lam": "training.objective.lam",
        "passes": "training.inner_epochs",
        "data_weight": "training.objective.data_share, a share of lam in [0, 1]",
        "normalise_error": "training.objective.normalise_error",
        "timestep_sampling": "training.objective.timestep_sampling",
        "diffusion_nft": "training.objective, with name diffusion_nft",
        "awm": "training.objective, with name awm",
        "flow_grpo": "training.objective, with name flow_grpo",
    }
}


def moved_to(model: type[BaseModel], path: Sequence[str]) -> str:
    """What to do about an unknown key that once was one; empty for one that never was.

    Args:
        model: what the path starts in.
        path: of the key.
    """
    for part in path[:-1]:
        field = model.model_fields.get(part)
        if field is None or not isinstance(field.annotation, type):
            return ""
        model = field.annotation
    now = _NOW.get(model.__name__, {}).get(path[-1])
    return f"write {now}" if now else ""
