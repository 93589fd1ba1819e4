"""Checkpoints of a loop between its rounds: the whole policy, published in place of the one before it.

What a round makes before its first gradient step changes nothing of the policy, so that a loop which is asked to end
then keeps what the last round came to at once; later in the round it finishes that first. A loop of several processes
ends between its steps, together. What is kept is a policy like any other, and whoever runs the loop again, with equal
inputs, goes on from it as if nothing had happened.
"""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from advantageflow.errors import Preempted
from advantageflow.objectives.batches import Metrics
from advantageflow.settings import StoreSettings, TrainingSettings
from advantageflow.store.published import fetch_published, is_published, join, publish_folder, remove_published
from advantageflow.store.s3 import cache_folder
from advantageflow.tracking.pipeline_run import PIPELINE_RUN_ENV
from advantageflow.training.group import Group
from advantageflow.training.preemption import when_asked_to_end

logger = logging.getLogger(__name__)


class LoopCheckpoints:
    """None: a loop starts at its beginning, and one that is cut short leaves nothing."""

    def resume(self) -> Path | None:
        """The policy that an earlier attempt kept; None where there is none."""
        return None

    def keeps(self, save: Callable[[Path], None]) -> None:
        """What writes the policy as it is after the last round."""

    @contextmanager
    def nothing_changes(self) -> Iterator[None]:
        """Within the block the policy is what it was after the last round."""
        yield

    def after_round(self, steps: int, *, last: bool) -> None:
        """A round of so many gradient steps is complete."""

    def remove(self) -> None:
        """The loop is done and its policy written: nobody will go on from here."""

    def metrics(self) -> Metrics:
        """What the checkpoints cost."""
        return {}


class _AskedToEnd(BaseException):
    """Raised by the signal itself, which no stage may take for an error of its own."""


class StoredLoopCheckpoints(LoopCheckpoints):
    """The newest checkpoint of a loop.

    Args:
        url: address of the checkpoint.
        every: gradient steps from one to the next.
        group: the processes; the first one writes.
    """

    def __init__(self, url: str, every: int, group: Group) -> None:
        self._url, self._every, self._group = url, every, group
        self._save: Callable[[Path], None] = lambda folder: None
        self._version: str | None = None
        self._steps, self._count, self._seconds = 0, 0, 0.0
        self._asked = self._unchanged = False

    def ask_to_end(self) -> None:
        """Called on a signal."""
        self._asked = True
        if self._unchanged and self._group.size == 1:
            raise _AskedToEnd

    def resume(self) -> Path | None:
        if not is_published(self._url):
            return None
        logger.info("going on from %s", self._url)
        kept = fetch_published(self._url, cache_folder())
        self._version = kept.name
        return kept

    def keeps(self, save: Callable[[Path], None]) -> None:
        self._save = save

    @contextmanager
    def nothing_changes(self) -> Iterator[None]:
        try:
            self._unchanged = True
            self._end_if_asked()
            yield
        except _AskedToEnd:
            self._end()
        finally:
            self._unchanged = False
        self._end_if_asked()

    def after_round(self, steps: int, *, last: bool) -> None:
        self._steps += steps
        if self._steps >= self._every and not last:
            self._write()

    def remove(self) -> None:
        if self._version is not None:
            remove_published(self._url, self._version)

    def metrics(self) -> Metrics:
        told = {"training/checkpoints": float(self._count), "training/checkpoint_write_seconds": self._seconds}
        return told if self._count else {}

    def _end_if_asked(self) -> None:
        if self._group.any(self._asked):
            self._end()

    def _end(self) -> None:
        self._unchanged = False
        if self._steps:
            self._write()
        self._group.broadcast(None)  # the others' end would be taken for a failure, and end the first one
        message = "was asked to end; the rounds that are complete are kept"
        raise Preempted(message, where="loop", remedy=f"run it again: it goes on from {self._url}")

    def _write(self) -> None:
        self._steps = 0
        if not self._group.first:
            return
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="advantageflow-checkpoint-") as name:
            self._save(Path(name) / "policy")
            self._version = publish_folder(Path(name) / "policy", self._url)
        self._count, self._seconds = self._count + 1, self._seconds + time.perf_counter() - started


@contextmanager
def loop_checkpoints(
    settings: TrainingSettings, store: StoreSettings, key: Callable[[], str], group: Group
) -> Iterator[LoopCheckpoints]:
    """The checkpoints of a loop; within the block a signal ends it with one, where it has any.

    Args:
        settings: how many gradient steps there are from one to the next.
        store: where they are kept.
        key: gives their name; called only if there are to be any.
        group: the processes of the loop.
    """
    if not settings.checkpoint_every or store.url is None:
        yield LoopCheckpoints()
        return
    url = join(store.url, "checkpoints", *filter(None, [os.environ.get(PIPELINE_RUN_ENV)]), key())
    checkpoints = StoredLoopCheckpoints(url, settings.checkpoint_every, group)
    with when_asked_to_end(checkpoints.ask_to_end, then=signal.SIG_DFL):
        yield checkpoints
