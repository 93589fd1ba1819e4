"""Addresses of runs, for people: from MLflow to Kubeflow and back."""

from __future__ import annotations

import os
import re
from html import escape
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
    base = re.sub("//[^/@]*@", "//", base.rstrip("/"))  # a browser asks for user and password itself
    return f"{base}/#/experiments/{experiment}/runs/{run}"


def add_links(page: Path, links: dict[str, str]) -> None:
    """Put links, by what they lead to, at the end of an HTML page."""
    named = ", ".join(f'<a href="{escape(address)}">{escape(name)}</a>' for name, address in links.items())
    head, end, tail = page.read_text(encoding="utf-8").rpartition("</main>")
    page.write_text(f"{head}<p>In MLflow: {named}</p>\n{end}{tail}", encoding="utf-8")
