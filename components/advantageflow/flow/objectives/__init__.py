"""The training objectives, one module each: functions of velocities (or transitions) and advantages to a loss."""

from advantageflow.flow.objectives.advantage_flow import (
    advantage_flow_loss,
    convex_lam,
    expected_reward_gain,
    local_target_weights,
    minimiser,
    trusted_margin,
)
from advantageflow.flow.objectives.awm import awm_loss
from advantageflow.flow.objectives.common import ERROR_FLOOR, VelocityBatch
from advantageflow.flow.objectives.diffusion_nft import diffusion_nft_loss
from advantageflow.flow.objectives.flow_grpo import TransitionBatch, flow_grpo_loss

__all__ = [
    "ERROR_FLOOR", "TransitionBatch", "VelocityBatch", "advantage_flow_loss", "awm_loss", "convex_lam",
    "diffusion_nft_loss", "expected_reward_gain", "flow_grpo_loss", "local_target_weights", "minimiser",
    "trusted_margin",
]  # fmt: skip
