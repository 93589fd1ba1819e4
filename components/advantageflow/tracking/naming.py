"""What runs, curves and pictures are called in MLflow, which sorts charts by these names and refuses some letters."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

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
