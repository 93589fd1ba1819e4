"""A task on a cluster that begins anew, in its container, where what it talks to is away for a moment.

Kubeflow itself tries a task again only where its controller is told to (infra/README.md, "Retries"). What a store, a
server or a hub does not answer is asked again by whoever asks; a task begins anew where that was not enough. A training
goes on from its last checkpoint.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

from advantageflow.errors import ClusterError
from advantageflow.tracking.pipeline_run import PIPELINE_RUN_ENV

WAITS_ENV = "ADVANTAGEFLOW_TASK_WAITS"  # seconds before each further try, with commas between them
_WAITS = "20,60,180"
_TRIES_ENV = "ADVANTAGEFLOW_TASK_TRIES"
_AWAY = {
    ("builtins", "ConnectionError"),
    ("requests.exceptions", "ConnectionError"),
    ("requests.exceptions", "Timeout"),
    ("urllib3.exceptions", "HTTPError"),
    ("httpx", "TransportError"),
    ("botocore.exceptions", "HTTPClientError"),
    ("botocore.exceptions", "ConnectionError"),
}


def begin_again_where_away(error: BaseException) -> None:
    """Replace this process by one like it, if that is worth it: after a lost connection, a few times, on a cluster.

    Args:
        error: what ended the task. An error of the cluster's own API is left alone: its callers have patience.
    """
    tries = int(os.environ.get(_TRIES_ENV, "0"))
    waits = [float(text) for text in os.environ.get(WAITS_ENV, _WAITS).split(",") if text.strip()]
    if not os.environ.get(PIPELINE_RUN_ENV) or tries >= len(waits) or not is_away(error):
        return
    which = f"try {tries + 2} of {len(waits) + 1}"
    print(f"warning: a connection was lost; {which} in {waits[tries]:g} s", file=sys.stderr, flush=True)
    time.sleep(waits[tries])
    os.environ[_TRIES_ENV] = str(tries + 1)
    sys.stdout.flush()
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - this command itself, without a shell


def is_away(error: BaseException) -> bool:
    """Whether an error comes of a connection that could not be made, or was lost."""
    chain = list(_chain(error))
    kinds = {(kind.__module__, kind.__name__) for one in chain for kind in type(one).__mro__}
    return bool(_AWAY & kinds) and not any(isinstance(one, ClusterError) for one in chain)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that it came of."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
