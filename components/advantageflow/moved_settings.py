"""Settings that have moved: what is written today instead of an old key."""

from __future__ import annotations

MOVED = {
    ("TrainingSettings", key): now
    for key, now in {
        "algorithm": "training.objective; instead of advantage_weighted: advantage_flow with training.objective.lam 0",
        "lam": "training.objective.lam",
        "passes": "training.inner_epochs",
        "data_weight": "training.objective.data_share, a share of lam in [0, 1]",
        "reference_weight": "training.objective.reference_weight",
        "normalise_error": "training.objective.normalise_error",
        "timestep_sampling": "training.objective.timestep_sampling",
        "diffusion_nft": "training.objective, with name diffusion_nft",
        "awm": "training.objective, with name awm",
        "flow_grpo": "training.objective, with name flow_grpo",
    }.items()
}
"""What to write, by the section's class and the old key."""
