"""The throughput benchmark: rollouts and training samples a second, beside the loop order of earlier trainers."""
