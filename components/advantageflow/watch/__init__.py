"""Reward-hacking metrics: cheap statistics of images, and alarms where they leave the base policy's own values."""
