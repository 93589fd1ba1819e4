"""What a look at a cluster found."""

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, NamedTuple

from advantageflow.errors import ClusterError
from advantageflow.kubernetes_api import NotAllowed, NotThere, explained

TIMEOUT = (3, 20)  # seconds to connect, and without a byte


class State(Enum):
    """How it stands with one thing; the word is shown."""

    FINE = "fine"
    ADVICE = "better"  # a run can do without
    TO_DO = "to do"  # a run would fail
    UNKNOWN = "not checked"


class Finding(NamedTuple):
    """One line: what was looked at, and how it is, or what to do."""

    what: str
    state: State
    words: str


def fine(what: str, words: str) -> Finding:
    """It is as it should be."""
    return Finding(what, State.FINE, words)


def to_do(what: str, words: str, remedy: str) -> Finding:
    """A run would fail for it."""
    return Finding(what, State.TO_DO, f"{words}: {remedy}")


def there(read: Callable[..., Any], resource: str, what: str, *names: str) -> Any | None:
    """What the cluster reads by these names; None where it does not have it.
    Raises ClusterError: it does not say.
    """
    try:
        with explained("get", resource, what):
            return read(*names, _request_timeout=TIMEOUT)
    except NotThere:
        return None


def looked(what: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What a look finds, which may raise ClusterError; where the cluster does not tell this user, that."""
    found: list[Finding] = []
    try:
        for one in look():
            found.append(one)
    except ClusterError as error:
        words = f"you have {error.message.partition(':')[0]}" if isinstance(error, NotAllowed) else error.message
        found.append(Finding(what, State.UNKNOWN, words))
    return found
