"""The evaluation stage: how good a policy is on held-out prompts, in numbers and pictures."""
