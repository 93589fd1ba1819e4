"""'Did you mean': the nearest valid name to one that is unknown."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, choices: Iterable[str]) -> str | None:
    """The choice that `name` most likely meant, ignoring case, '-' and '_'; None if nothing is near."""
    plain = {_plain(choice): choice for choice in choices}
    matches = difflib.get_close_matches(_plain(name), plain, n=1, cutoff=0.6)
    return plain[matches[0]] if matches else None


def suggest(name: str, choices: Iterable[str], *, what: str) -> str:
    """A remedy for an unknown name: the nearest choice if there is one, and the list of all."""
    choices = sorted(choices)
    if not choices:
        return f"there are no {what}"
    near = did_you_mean(name, choices)
    known = f"{what}: {', '.join(choices)}"
    return f"did you mean '{near}'? {known}" if near else f"choose one of the {known}"


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
