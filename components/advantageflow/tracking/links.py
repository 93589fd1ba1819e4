"""Addresses of runs, for people: from MLflow to Kubeflow and back."""

from __future__ import annotations

import os
from pathlib import Path

MLFLOW_URL_ENV = "ADVANTAGEFLOW_MLFLOW_URL"  # where a browser finds MLflow, if not where the tasks do
KFP_URL_ENV = "ADVANTAGEFLOW_KFP_URL"


def pipeline_address(pipeline: str) -> str | None:
    """The page of a Kubeflow run; None where nobody said where Kubeflow's pages are."""
    base = os.environ.get(KFP_URL_ENV)
    return f"{base.rstrip('/')}/#/runs/details/{pipeline}" if base else None


def mlflow_address(tracking_uri: str, experiment: str, run: str) -> str | None:
    """The page of an MLflow run; None for a store that has no pages."""
    base = os.environ.get(MLFLOW_URL_ENV) or tracking_uri
    if not base.startswith(("http://", "https://")):
        return None
    return f"{base.rstrip('/')}/#/experiments/{experiment}/runs/{run}"


def add_links(page: Path, links: dict[str, str]) -> None:
    """Put links, by what they lead to, at the end of a Markdown page."""
    with page.open("a", encoding="utf-8") as file:
        file.write("\nIn MLflow: " + ", ".join(f"[{name}]({address})" for name, address in links.items()) + "\n")
