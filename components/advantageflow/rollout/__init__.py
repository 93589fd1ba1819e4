"""The rollout stage: groups of images of a round's prompts, made by the rollout policy."""
