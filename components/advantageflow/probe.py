"""Whether a pod reaches what the stages need: `python3 -m advantageflow.probe [STORE]`, in a stage's image.

With the environment that tasks have, it writes to the store and removes it again, and asks MLflow and Kubeflow. A line
of JSON on standard output for each: what, whether it is fine, and words.
"""

import json
import os
import sys
import tempfile
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path

from advantageflow.errors import UserError
from advantageflow.store.published import fetch_published, join, publish_folder, remove_below
from advantageflow.tracking.events import TRACKING_ENV
from advantageflow.tracking.kubeflow import API_ENV, IN_CLUSTER_API
from advantageflow.tracking.mlflow_store import open_client, tracking_errors

_SECONDS = 5.0


def main(arguments: list[str]) -> None:
    """Look at each, whatever comes of the others; the argument is the store's address, if there is one."""
    os.environ.setdefault("AWS_MAX_ATTEMPTS", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(int(_SECONDS)))
    if arguments:
        _say("store", lambda: _try_store(arguments[0]))
    _say("MLflow", _try_mlflow)
    _say("Kubeflow's API", _try_kubeflow)


def _say(what: str, look: Callable[[], str]) -> None:
    try:
        fine, words = True, look()
    except (UserError, OSError) as error:
        fine, words = False, str(error)
    print(json.dumps({"what": what, "fine": fine, "words": words}), flush=True)


def _try_store(url: str) -> str:
    place = join(url, "checks", uuid.uuid4().hex)
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "file").write_text("written by `advantageflow cluster check`\n", encoding="utf-8")
        publish_folder(Path(name), place)
    try:
        with tempfile.TemporaryDirectory() as cache:
            fetch_published(place, Path(cache))
    finally:
        remove_below(place)
    return f"{url} is written and read"


def _try_mlflow() -> str:
    uri = os.environ.get(TRACKING_ENV)
    if not uri:
        return f"{TRACKING_ENV} is not set: runs will not be in MLflow"
    client = open_client(uri)
    with tracking_errors(uri):
        client.search_experiments(max_results=1)
    return f"{uri} answers"


def _try_kubeflow() -> str:
    address = os.environ.get(API_ENV, IN_CLUSTER_API)
    with urllib.request.urlopen(f"{address.rstrip('/')}/apis/v2beta1/healthz", timeout=_SECONDS):  # noqa: S310 - an address of the cluster's own
        return f"{address} answers"


if __name__ == "__main__":
    main(sys.argv[1:])
