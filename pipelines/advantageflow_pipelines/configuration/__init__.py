"""What a person chose for a run, as checked settings."""
