"""What the loop starts from: a few prompts of the embedded world, their conditioning, and the embedded model itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from advantageflow.policy.text import encode_prompts
from advantageflow.prompts.initial_policy import write_base_policy
from advantageflow.settings import (
    LoraSettings,
    ModelSettings,
    RewardSettings,
    RolloutSettings,
    StoreSettings,
    TrainingSettings,
)
from advantageflow.shapes.prompts import all_prompts
from advantageflow.store.conditioning import write_conditioning
from advantageflow.store.prompts import write_prompts

MODEL = ModelSettings()


def loop_arguments(folder: Path, **changes: Any) -> dict[str, Any]:
    """Write the artifacts; those of the stage for two rounds, policy_out aside.

    Args:
        folder: for the artifacts.
        **changes: of the settings of training.
    """
    training = {"gradient_steps": 2, "inner_epochs": 2, "microbatch": 8, "threads": 1, "lora": LoraSettings(rank=2)}
    train = [prompt for prompt in all_prompts() if prompt.split == "train"]
    prompts = [next(prompt for prompt in train if prompt.task == task) for task in ("colors", "counting", "position")]
    prompts += train[-3:]
    told = encode_prompts(MODEL, [*(prompt.text for prompt in prompts), ""])
    write_prompts(folder / "prompts", prompts, {})
    write_conditioning(folder / "conditioning", prompts, told.rows, {})
    write_base_policy(folder / "policy", {}, {})
    return {
        "settings": TrainingSettings(**{**training, **changes}),
        "rollout": RolloutSettings(prompts_per_round=3, group_size=4, steps=2, batch_groups=1, shards=2),
        "reward": RewardSettings(), "model": MODEL, "store": StoreSettings(), "seed": 0, "round_index": 2,
        **{name: folder / name for name in ("prompts", "conditioning", "policy")},
    }  # fmt: skip
