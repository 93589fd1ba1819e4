"""What a run will cost, worked out before anything is spent: images, operations, GPU-hours, memory, storage."""
