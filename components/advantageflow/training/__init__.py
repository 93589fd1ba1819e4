"""The training stage: one round of AdvantageFlow on scored rollouts."""
