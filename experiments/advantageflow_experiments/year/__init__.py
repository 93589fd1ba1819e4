"""A year of weekly retrainings, simulated on the embedded model."""
