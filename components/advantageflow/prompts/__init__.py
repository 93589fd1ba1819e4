"""The prompts stage: reads and checks prompts, encodes their texts once, makes the initial policy."""
