"""The artifacts that flow between stages, in one place: each is a folder that is whole or absent."""

from advantageflow.store.conditioning import StoredConditioning, open_conditioning, write_conditioning
from advantageflow.store.files import publish, read_json, read_metadata, read_tensors, write_json, write_tensors
from advantageflow.store.prompt_history import GroupOutcome, PromptHistory, read_history, write_history
from advantageflow.store.prompts import read_prompts, write_prompts
from advantageflow.store.rollouts import read_latents, read_rollouts, read_trajectories, write_rollouts
from advantageflow.store.scores import DROPPED_KEY, IMAGE_STATISTICS_KEY, REWARD_PREFIX, read_scores, write_scores

__all__ = [
    "DROPPED_KEY",
    "IMAGE_STATISTICS_KEY",
    "REWARD_PREFIX",
    "GroupOutcome",
    "PromptHistory",
    "StoredConditioning",
    "open_conditioning",
    "publish",
    "read_history",
    "read_json",
    "read_latents",
    "read_metadata",
    "read_prompts",
    "read_rollouts",
    "read_scores",
    "read_tensors",
    "read_trajectories",
    "write_conditioning",
    "write_history",
    "write_json",
    "write_prompts",
    "write_rollouts",
    "write_scores",
    "write_tensors",
]  # fmt: skip
