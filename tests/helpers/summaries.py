"""Summaries of runs that are held against each other."""

from __future__ import annotations

from typing import Any

VARYING = ("seconds", "training_seconds", "overhead", "cost", "mlflow_run_id", "registered", "outcome")
"""Keys that differ between two equal runs; everything else in a summary is a function of the settings."""


def comparable(summary: Any) -> Any:
    """A summary without what differs between two equal runs (timings and ids)."""
    if isinstance(summary, dict):
        return {key: comparable(value) for key, value in summary.items() if key not in VARYING}
    return [comparable(item) for item in summary] if isinstance(summary, list) else summary
