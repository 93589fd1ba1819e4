"""Rectified-flow mathematics: pure functions on tensors, no files, no settings, no logging."""
