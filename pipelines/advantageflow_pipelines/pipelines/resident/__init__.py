"""The resident pipeline: rounds in one process that keeps everything loaded."""
