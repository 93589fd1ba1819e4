"""The champion of a registered model: alias 'champion', moved by compare-and-set, and its history for rolling back.

MLflow sets an alias whatever it was before. It does number the versions of a registered model one by one, even where
several are made at once, as name and version are the primary key of a table. So every change is first appended, as a
version of NAME.champions, with the change that it follows; of two that follow the same one, the lower number holds and
the other is void. Readers who replay this log agree on who is champion, wherever they are and whoever crashes.

The alias follows the log: whoever appends a change moves it, and who finds it behind moves it for one that could not.
An alias that a person moves on MLflow's pages is a change as well, and is appended when it is seen.
"""

import uuid
from dataclasses import dataclass

from advantageflow.annotations import MlflowClient
from advantageflow.errors import TrackingError
from advantageflow.tracking.mlflow_store import tracking_errors
from advantageflow.tracking.registration import make_registered_model
from advantageflow.tracking.registry import CHAMPION, REGISTRY, alias_of

LOG_SUFFIX = ".champions"
_AFTER, _VERSION, _REASON, _TICKET, _APPLIED = "after", "version", "reason", "ticket", "applied"
_MOST = 10_000


class Superseded(TrackingError):
    """The champion is another one than the one that a change was to replace."""


@dataclass(frozen=True)
class Reign:
    """A version's time as champion."""

    number: int = 0  # of the change that began it; 0 before the first
    version: str | None = None  # of the registered model; None where there is no champion
    reason: str = ""
    ticket: str = ""  # by which whoever made the change knows it again
    applied: bool = True  # whether the alias has followed


def champion(client: MlflowClient, name: str) -> Reign:
    """Who is champion, with the alias where it belongs. Raises TrackingError: MLflow cannot be read or written."""
    with tracking_errors(client.tracking_uri):
        while True:
            now = reigns(client, name)[-1]
            alias = alias_of(client, name, CHAMPION)
            if alias == now.version:
                return now
            if now.applied:
                _append(client, name, now, alias, "set by hand")
            else:
                _apply(client, name)


def reigns(client: MlflowClient, name: str) -> list[Reign]:
    """Who was champion, in order; the first is that of nobody."""
    found = client.search_model_versions(f"name = '{name}{LOG_SUFFIX}'", max_results=_MOST)
    held = [Reign()]
    for entry in sorted(found, key=lambda one: int(one.version)):
        told, number = entry.tags, int(entry.version)
        if told.get(_AFTER) == str(held[-1].number):
            reason, ticket = told.get(_REASON, ""), told.get(_TICKET, "")
            held.append(Reign(number, told.get(_VERSION), reason, ticket, _APPLIED in told))
    return held


def predecessor(client: MlflowClient, name: str) -> str | None:
    """Who was champion before the present one first was; None where nobody was.
    Raises TrackingError: MLflow cannot be read or written.
    """
    now = champion(client, name)
    with tracking_errors(client.tracking_uri):
        versions = [one.version for one in reigns(client, name)]
    return versions[max(0, versions.index(now.version) - 1)]


def change_champion(client: MlflowClient, name: str, expected: str | None, version: str, reason: str) -> Reign:
    """Make a version of a registered model champion in place of the expected one, of nobody if that is None.

    Raises:
        Superseded: the champion is not the expected one, or somebody else was faster; nothing was changed.
        TrackingError: MLflow cannot be read or written.
    """
    before = champion(client, name)
    if before.version == expected:
        with tracking_errors(client.tracking_uri):
            ticket = _append(client, name, before, version, reason)
            after = reigns(client, name)
            made = next((one for one in after if one.ticket == ticket), None)
            if made is not None:
                _apply(client, name)
                return made
            before = after[-1]
    raise Superseded(
        f"the champion is {_called(before.version)}, not {_called(expected)}: it was changed meanwhile",
        where=f"{client.tracking_uri}, {REGISTRY}{name}",
        remedy="compare with the champion of today, by another retraining",
    )


def _called(version: str | None) -> str:
    return "nobody" if version is None else f"version {version}"


def _append(client: MlflowClient, name: str, before: Reign, version: str | None, reason: str) -> str:
    """Append a change; returns its ticket. Whether it holds is in the log."""
    make_registered_model(client, f"{name}{LOG_SUFFIX}", f"Every change of the champion of {name}, in order.")
    ticket, by_hand = uuid.uuid4().hex, reason == "set by hand"
    tags = {_AFTER: str(before.number), _REASON: reason, _TICKET: ticket, **({_APPLIED: "true"} if by_hand else {})}
    tags |= {} if version is None else {_VERSION: version}
    source = f"{REGISTRY}{name}/{version or before.version}"
    said = f"{_called(before.version)} -> {_called(version)}: {reason}"
    client.create_model_version(f"{name}{LOG_SUFFIX}", source, tags=tags, description=said)
    return ticket


def _apply(client: MlflowClient, name: str) -> None:
    """Let the alias follow the last change, where it has not."""
    while not (now := reigns(client, name)[-1]).applied:
        if now.version is not None:
            client.set_registered_model_alias(name, CHAMPION, now.version)
        client.set_model_version_tag(f"{name}{LOG_SUFFIX}", str(now.number), _APPLIED, "true")
