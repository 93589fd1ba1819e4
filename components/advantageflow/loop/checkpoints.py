"""Checkpoints of a loop between its rounds: the whole policy, published in place of the one before it.

What a round makes before its first gradient step changes nothing of the policy, so that a loop which is asked to end
then keeps what the last round came to at once; later in the round it finishes that first. A loop of several processes
ends between its steps, together. What is kept is a policy like any other, and whoever runs the loop again, with equal
inputs, goes on from it as if nothing had happened.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from advantageflow.errors import Preempted
from advantageflow.objectives.batches import Metrics
from advantageflow.settings import StoreSettings, TrainingSettings
from advantageflow.store.s3 import cache_folder
from advantageflow.training.checkpoints import Slot
from advantageflow.training.group import Group
from advantageflow.training.preemption import when_asked_to_end


class _AskedToEnd(BaseException):
    """Raised by the signal itself, which no stage may take for an error of its own."""


class LoopCheckpoints:
    """The checkpoints of a loop; without a slot it starts at its beginning, and one cut short leaves nothing.

    Args:
        slot: where they are kept.
        every: gradient steps from one to the next.
        group: the processes; the first one writes.
    """

    def __init__(self, slot: Slot | None, every: int, group: Group) -> None:
        self._slot, self._every, self._group = slot, every, group
        self._save: Callable[[Path], None] = lambda folder: None
        self._steps = 0
        self._asked = self._unchanged = False

    def ask_to_end(self) -> None:
        """Called on a signal."""
        self._asked = True
        if self._unchanged and self._group.size == 1:
            raise _AskedToEnd

    def resume(self) -> Path | None:
        """The policy that an earlier attempt kept; None where there is none."""
        return None if self._slot is None else self._slot.fetch(cache_folder())

    def keeps(self, save: Callable[[Path], None]) -> None:
        """What writes the policy as it is after the last round."""
        self._save = save

    @contextmanager
    def nothing_changes(self) -> Iterator[None]:
        """Within the block the policy is what it was after the last round.
        Raises Preempted: the process was asked to end.
        """
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
        """A round of so many gradient steps is complete."""
        self._steps += steps
        if self._steps >= self._every and not last:
            self._write()

    def remove(self) -> None:
        """The loop is done and its policy written: nobody will go on from here."""
        if self._slot is not None:
            self._slot.remove()

    def metrics(self) -> Metrics:
        """What the checkpoints cost."""
        return {} if self._slot is None else self._slot.metrics()

    def _end_if_asked(self) -> None:
        if self._slot is not None and self._group.any(self._asked):
            self._end()

    def _end(self) -> None:
        self._unchanged = False
        if self._steps:
            self._write()
        self._group.broadcast(None)  # the others' end would be taken for a failure, and end the first one
        where = "" if self._slot is None else f": it goes on from {self._slot.url}"
        message = "was asked to end; the rounds that are complete are kept"
        raise Preempted(message, where="loop", remedy=f"run it again{where}")

    def _write(self) -> None:
        self._steps = 0
        if self._slot is not None and self._group.first:
            self._slot.publish(self._save)


@contextmanager
def loop_checkpoints(
    settings: TrainingSettings, store: StoreSettings, key: Callable[[], str], group: Group
) -> Iterator[LoopCheckpoints]:
    """The checkpoints of a loop; within the block a signal ends it with one, where it has any."""
    slot = Slot.of(settings, store, key)
    checkpoints = LoopCheckpoints(slot, settings.checkpoint_every, group)
    if slot is None:
        yield checkpoints
        return
    with when_asked_to_end(checkpoints.ask_to_end, then=signal.SIG_DFL):
        yield checkpoints
