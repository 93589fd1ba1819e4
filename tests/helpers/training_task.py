"""A training as a pipeline's task, in a process of its own; and the checkpoints that it leaves in a store."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from advantageflow.runtime import carried
from advantageflow.store.files import read_json
from advantageflow.store.published import fetch_published

_TASK = """
import json, sys
from advantageflow.runtime import run_stage_task
run_stage_task("training", **json.loads(sys.argv[1]))
"""


def start(arguments: dict[str, Any]) -> subprocess.Popen[str]:
    """Start the stage with these arguments."""
    command = [sys.executable, "-c", _TASK, json.dumps(carried(arguments))]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str], seconds: float = 90.0) -> None:
    """Wait until something holds, while the process runs."""
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.02)


def checkpoints(store: Path) -> list[Path]:
    """The manifests of all checkpoints."""
    return sorted(store.glob("checkpoints/*/manifest.json"))


def steps_kept(store: Path) -> int:
    """Gradient steps of the one checkpoint."""
    (manifest,) = checkpoints(store)
    return len(read_json(fetch_published(str(manifest.parent), store) / "state.json")["steps"])
