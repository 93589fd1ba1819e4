"""The model being tuned: diffusers loading, LoRA adapters, the rollout policy, sampling."""
