"""The retraining pipeline: from the champion and new prompts to a candidate, a gate, and promotion."""
