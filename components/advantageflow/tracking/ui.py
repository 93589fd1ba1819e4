"""MLflow's pages: serving those of a local store, where a run is on them, what they show first, what names they take.

MLflow sorts charts by their names, and refuses some letters.
"""

import hashlib
import json
import os
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from advantageflow.annotations import MlflowClient
from advantageflow.errors import TrackingError
from advantageflow.tracking.mlflow_store import sqlite_uri

NAME_TAG = "advantageflow.name"  # of a run, before its result is added
RESULT_HEADING = "\n\n### Result\n\n"  # of a run's description; what follows changes with every evaluation

_LONGEST = 250
_LONGEST_KEY = 150  # MLflow adds step, time, id and ending for a file's name, which may have 255 letters
_NOT_IN_METRICS = re.compile(r"[^\w\-./ :]+")  # MLflow takes letters of any script here,
_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_\-./ ]+")  # and not in the keys of pictures
_SECTIONS = (  # of MLflow's charts, which it sorts by name: this is the order in which a person reads them
    (re.compile(r"reward/(.+)_mean"), r"average reward/\1"),
    (re.compile(r"samples/(.+)"), r"examples/\1"),
    (re.compile(r"training/(.*loss|regulariser|error)"), r"loss/\1"),
    (re.compile(r"(?:seconds/|training/(?=seconds|samples_per_second))(.+)"), r"time/\1"),
    (re.compile(r"training/(.+)"), r"monitoring/\1"),
    (re.compile(r"(image|watched|rollouts)/(.+)"), r"monitoring/\1 \2"),
    (re.compile(r"alarm/(.+)"), r"warnings/\1"),
)
MLFLOW_URL_ENV = "ADVANTAGEFLOW_MLFLOW_URL"  # where a browser finds MLflow, if not where the tasks do
_TRAINING = "workflowType=machine_learning"  # else the pages around it are those for LLM traces
_VIEW = "results"  # the name of our view of an experiment, in its tags and in addresses
_PARAMS = ("training.objective.name", "rounds", "seed")


def check_store(store: Path) -> None:
    """Check that a sqlite file is there, which MLflow would make; raises TrackingError."""
    if not store.is_file():
        raise TrackingError(
            "there is no MLflow store yet",
            where=str(store),
            remedy="start a run first (advantageflow run), or name the folder that holds its mlflow.db",
        )


def ui_command(store: Path, host: str = "127.0.0.1", port: int = 5000) -> list[str]:
    """The command that serves MLflow's pages on the sqlite file `store`.
    Raises TrackingError: there is no such file, or the port is in use.
    """
    check_store(store)
    _check_free(host, port)
    address = ["--host", host, "--port", str(port), "--workers", "1"]
    return [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", sqlite_uri(store), *address]


def mlflow_address(tracking_uri: str, experiment: str, run: str) -> str | None:
    """The page of an MLflow run; None for a store that has no pages."""
    base = os.environ.get(MLFLOW_URL_ENV) or tracking_uri
    if not base.startswith(("http://", "https://")):
        return None
    base = re.sub("//[^/@]*@", "//", base.rstrip("/"))  # a browser asks for user and password itself
    return f"{base}/{page_of_run(experiment, run)}"


def page_of_run(experiment: str, run: str, tab: str = "") -> str:
    """The page of a run, or a tab of it, as an address within MLflow's pages."""
    return f"#/experiments/{experiment}/runs/{run}{tab and f'/{tab}'}?{_TRAINING}"


def page_of_runs(client: MlflowClient, experiment: str | None, run: str | None) -> str:
    """Where in MLflow's pages the runs of an experiment are, or one run, as the part of the address after the port.
    Raises TrackingError: there is no such experiment or run.

    Args:
        experiment: its name; that of the newest run if None.
        run: id, name or folder of a run; its own page then.
    """
    known = {one.experiment_id: one for one in client.search_experiments()}
    if experiment is not None:
        known = {key: one for key, one in known.items() if one.name == experiment}
    runs = client.search_runs(list(known), order_by=["attributes.start_time DESC"]) if known else []
    if run is not None:
        folder = {one.info.run_id: Path(one.data.tags.get("workdir", "")).name for one in runs}
        runs = [one for one in runs if run in (one.info.run_id, one.info.run_name, folder[one.info.run_id])]
    if not runs:
        what, where = ("run", run) if run is not None else ("run in it", experiment or "the store")
        raise TrackingError(f"there is no such {what}", where=str(where), remedy="see `advantageflow runs`")
    home = runs[0].info.experiment_id
    if run is not None:
        return f"/{page_of_run(home, runs[0].info.run_id)}"
    view = f"&viewStateShareKey={_VIEW}" if f"mlflow.sharedViewState.{_VIEW}" in known[home].tags else ""
    return f"/#/experiments/{home}/runs?{_TRAINING}{view}"


def view_tags(headline: str) -> dict[str, str]:
    """Tags of an experiment by which MLflow's pages show this metric first, in tables and where runs are compared."""
    columns = [f"metrics.`{headline}`", *(f"params.`{name}`" for name in _PARAMS), "attributes.`User`"]
    order = ["attributes.`Run Name`", *columns]
    widths = {order[0]: 520, columns[0]: 140}
    view = {"searchFilter": "", "selectedColumns": columns, "columnOrder": order, "columnWidths": widths}
    return {
        "mlflow.experiment.primaryMetric.name": headline,
        "mlflow.experiment.primaryMetric.greaterIsBetter": "True",
        f"mlflow.sharedViewState.{_VIEW}": json.dumps(view),
    }


def _check_free(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            message = f"MLflow's pages cannot be served there: {error.strerror}"
            raise TrackingError(message, where=f"{host}:{port}", remedy="choose another --port") from error


def run_title(settings: Mapping[str, Any]) -> str:
    """The name that a person gave a run; else one by its settings, such as 'shapes, shapes.soft, advantage_flow'.

    Empty where the settings (all or some sections, JSON-able) say none of that.
    """
    given = settings.get("tracking") or {}
    if given.get("name"):
        return str(given["name"])
    reward = settings.get("reward") or {}
    terms = [reward, *reward.get("others", ())] if "name" in reward else []
    objective = (settings.get("training") or {}).get("objective") or {}
    parts = [
        (settings.get("model") or {}).get("name"),
        " + ".join(f"{term['name']}.{term['column']}" for term in terms),
        objective.get("name") if isinstance(objective, Mapping) else objective,
    ]
    return ", ".join(str(part) for part in parts if part)


def metric_name(name: str) -> str:
    """A metric's name in MLflow: in the section that it belongs to, and such that it is taken."""
    for pattern, section in _SECTIONS:
        if pattern.fullmatch(name):
            name = pattern.sub(section, name)
            break
    return taken(name)


def taken(name: str) -> str:
    """A name such that MLflow takes it for a metric or a tag.

    One that must be changed for that ends in a hash of it, lest two that are changed alike overwrite each other.
    """
    parts = _NOT_IN_METRICS.sub("_", name).split("/")
    made = "/".join("_" if part in ("", ".", "..") else part for part in parts)
    if made == name and len(name) <= _LONGEST:
        return name
    return f"{made[: _LONGEST - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def picture_key(key: str) -> str:
    """The key of a picture in MLflow, in the section that it belongs to."""
    pattern, section = _SECTIONS[1]
    return _NOT_IN_KEYS.sub(" ", pattern.sub(section, key)).strip()[:_LONGEST_KEY]
