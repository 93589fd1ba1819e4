"""Artifacts on disk: whole or absent, checked when read."""
