"""Checkpoints of a round in training, from which another attempt at it goes on as if nothing had happened.

A checkpoint is a published folder: `tensors.safetensors` holds what gradient steps change (the trained adapter and
its average, the optimiser's moments, the state of the generator that all randomness is drawn from), `state.json` the
metrics of the steps so far, whose number is the step. The rest of a training is a function of its inputs, which its
address names.

On a cluster the address also names the pipeline run, as equal runs would get in each other's way. Elsewhere nothing
tells them apart, and each removes only what it has itself written or gone on from.
"""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from advantageflow.errors import Preempted, StoreError
from advantageflow.objectives.batches import Metrics
from advantageflow.settings import StoreSettings, TrainingSettings
from advantageflow.store.files import read_json, read_tensors, write_json, write_tensors
from advantageflow.store.published import fetch_published, is_published, join, publish_folder, remove_published
from advantageflow.tracking.pipeline_run import PIPELINE_RUN_ENV
from advantageflow.training.group import ALONE, Group
from advantageflow.training.policy import Policy, optimiser_tensors, restore_tensors
from advantageflow.training.preemption import when_asked_to_end

_TENSORS_FILE = "tensors.safetensors"
_STATE_FILE = "state.json"
_GENERATOR = "generator"
_ADAPTER, _OPTIMISER, _AVERAGE = "adapter.", "optimiser.", "average."

logger = logging.getLogger(__name__)


class Slot:
    """The newest checkpoint of a training, published in place of the one before it.

    Attributes:
        url: its address.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._version: str | None = None
        self._count, self._seconds = 0, 0.0

    @classmethod
    def of(cls, settings: TrainingSettings, store: StoreSettings, key: Callable[[], str]) -> Slot | None:
        """That of the training of this key, which is asked for only then; None where no checkpoints are kept."""
        if not settings.checkpoint_every or store.url is None:
            return None
        return cls(join(store.url, "checkpoints", *filter(None, [os.environ.get(PIPELINE_RUN_ENV)]), key()))

    def fetch(self, cache: Path) -> Path | None:
        """A local copy of what an earlier attempt left; None where there is nothing.
        Raises StoreError: it cannot be used.
        """
        if not is_published(self.url):
            return None
        try:
            kept = fetch_published(self.url, cache)
        except StoreError as error:
            remedy = "delete the checkpoint there, and it starts from its beginning; or check that place"
            raise StoreError(
                f"the checkpoint cannot be used: {error.message}", where=self.url, remedy=remedy
            ) from error
        self._version = kept.name
        logger.info("going on from %s", self.url)
        return kept

    def publish(self, write: Callable[[Path], None]) -> None:
        """Publish what `write` writes into the folder that it is given, which is not there yet."""
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="advantageflow-checkpoint-") as name:
            folder = Path(name) / "checkpoint"
            write(folder)
            self._version = publish_folder(folder, self.url)
        self._count, self._seconds = self._count + 1, self._seconds + time.perf_counter() - started

    def remove(self) -> None:
        """Remove what was published or gone on from here."""
        if self._version is not None:
            remove_published(self.url, self._version)

    def metrics(self) -> Metrics:
        """What the checkpoints cost."""
        told = {"training/checkpoints": float(self._count), "training/checkpoint_write_seconds": self._seconds}
        return told if self._count else {}


class Checkpoints:
    """The checkpoints of a round; without a slot a round starts at its beginning, and one cut short leaves nothing.

    The first process reads and writes, and the others go on from what it has read. A step waits only for the tensors to
    be copied, and for the checkpoint before to be written: writing goes on beside the training.

    Args:
        slot: where they are kept.
        every: gradient steps from one to the next.
        last: number of the round's steps; after the last one there is nothing to keep.
        group: the processes that train.

    Attributes:
        stop: set it, and the round ends after the step.
        writer: writes one at a time.
    """

    def __init__(self, slot: Slot | None = None, every: int = 1, last: int = 0, group: Group = ALONE) -> None:
        self._slot, self._every, self._last, self._group = slot, every, last, group
        self.stop, self.writer = threading.Event(), ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._attempt = uuid.uuid4().hex  # in each checkpoint: those of equal runs are never one version
        self._written: Future[None] | None = None
        self._waited = 0.0

    def resume(self, policy: Policy, generator: torch.Generator) -> list[Metrics]:
        """Put both in the state that an earlier attempt left them in.

        Returns:
            The metrics of its steps; none where there was no such attempt, and then nothing is changed.
        """
        if self._slot is None:
            return []
        tensors, steps = self._group.broadcast(_read(self._slot) if self._group.first else None)
        if not steps:
            return []
        parameters = policy.adapters.named_parameters()
        for name, value in _part(tensors, _ADAPTER).items():
            parameters[name].data.copy_(value)
        restore_tensors(policy.optimiser, parameters, _part(tensors, _OPTIMISER), Path(self._slot.url))
        average = _part(tensors, _AVERAGE)
        policy.adapters.average = {name: value.to(parameters[name].device) for name, value in average.items()}
        generator.set_state(tensors[_GENERATOR])
        logger.info("going on after gradient step %d", len(steps))
        return list(steps)

    def keep(self, policy: Policy, generator: torch.Generator, steps: list[Metrics]) -> None:
        """After each step; `steps` are the metrics of all so far. Raises Preempted: the process was asked to end."""
        if self._slot is None:
            return
        stopping = self._group.any(self.stop.is_set())
        if len(steps) == self._last:
            return
        if self._group.first and (stopping or len(steps) % self._every == 0):
            started = time.perf_counter()
            self._wait()
            state = {"attempt": self._attempt, "steps": [dict(step) for step in steps]}
            tensors = _snapshot(policy, generator)
            self._written = self.writer.submit(self._slot.publish, lambda folder: _write(folder, tensors, state))
            self._waited += time.perf_counter() - started
        if stopping:
            self._wait()
            self._group.broadcast(None)  # the others' end would be taken for a failure, and end the first one
            message = f"was asked to end; gradient step {len(steps)} of {self._last} is done and kept"
            raise Preempted(message, where="training", remedy=f"run it again: it goes on from {self._slot.url}")

    def remove(self) -> None:
        """The round is done and its policy written: nobody will go on from here."""
        self._wait()
        if self._slot is not None and self._group.first:
            self._slot.remove()

    def metrics(self) -> Metrics:
        """What the checkpoints cost."""
        told = self._slot.metrics() if self._slot is not None else {}
        return told | ({"training/checkpoint_wait_seconds": self._waited} if told else {})

    def _wait(self) -> None:
        """Wait for the checkpoint that is being written, and raise what went wrong with it."""
        if self._written is not None:
            self._written.result()
            self._written = None


NO_CHECKPOINTS = Checkpoints()


@contextmanager
def round_checkpoints(
    settings: TrainingSettings, store: StoreSettings, key: Callable[[], str], group: Group
) -> Iterator[Checkpoints]:
    """The checkpoints of a round; within the block SIGTERM ends it after a step, with one, where it has any."""
    slot = Slot.of(settings, store, key)
    if slot is None:
        yield NO_CHECKPOINTS
        return
    checkpoints = Checkpoints(slot, settings.checkpoint_every, settings.gradient_steps, group)
    with when_asked_to_end(checkpoints.stop.set, then=signal.SIG_DFL), checkpoints.writer:
        yield checkpoints


def _snapshot(policy: Policy, generator: torch.Generator) -> dict[str, Tensor]:
    """Copies on the CPU of what a gradient step changes."""
    parameters = policy.adapters.named_parameters()
    moments = optimiser_tensors(policy.optimiser, parameters)
    tensors = {f"{_ADAPTER}{name}": parameter.detach() for name, parameter in parameters.items()}
    tensors |= {f"{_AVERAGE}{name}": value for name, value in policy.adapters.average.items()}
    tensors |= {f"{_OPTIMISER}{name}": value for name, value in moments.items()}
    return {name: value.cpu().clone() for name, value in tensors.items()} | {_GENERATOR: generator.get_state()}


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _write(folder: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    folder.mkdir()
    write_tensors(folder / _TENSORS_FILE, tensors)
    write_json(folder / _STATE_FILE, state)


def _read(slot: Slot) -> tuple[dict[str, Tensor], list[Metrics]]:
    """Tensors and metrics of the checkpoint; none of them where there is none."""
    with tempfile.TemporaryDirectory(prefix="advantageflow-checkpoint-") as name:
        folder = slot.fetch(Path(name))
        if folder is None:
            return {}, []
        return read_tensors(folder / _TENSORS_FILE), read_json(folder / _STATE_FILE)["steps"]
