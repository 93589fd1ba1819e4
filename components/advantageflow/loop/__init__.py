"""The loop stage: rounds of rollout, reward and training in one process that keeps everything loaded."""
