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
from advantageflow.training.group import Group
from advantageflow.training.optimiser import optimiser_tensors, restore_tensors
from advantageflow.training.policy import Policy
from advantageflow.training.preemption import when_asked_to_end

_TENSORS_FILE = "tensors.safetensors"
_STATE_FILE = "state.json"
_GENERATOR = "generator"
_OPTIMISER = "optimiser."
_AVERAGE = "average."

logger = logging.getLogger(__name__)


class Checkpoints:
    """None: a round starts at its beginning, and an attempt that is cut short leaves nothing."""

    def resume(self, policy: Policy, generator: torch.Generator) -> list[Metrics]:
        """Put both in the state that an earlier attempt left them in.

        Returns:
            The metrics of its steps; none where there was no such attempt, and then nothing is changed.
        """
        return []

    def keep(self, policy: Policy, generator: torch.Generator, steps: list[Metrics]) -> None:
        """Told after each step; `steps` are the metrics of all so far."""

    def remove(self) -> None:
        """The round is done and its policy written: nobody will go on from here."""

    def metrics(self) -> Metrics:
        """What the checkpoints cost."""
        return {}


NO_CHECKPOINTS = Checkpoints()


class StoredCheckpoints(Checkpoints):
    """The newest checkpoint of a round, published in place of the one before it.

    The first process reads and writes, and the others go on from what it has read. A step waits only for the tensors to
    be copied, and for the checkpoint before to be written: writing goes on beside the training.

    Args:
        url: address of the checkpoint.
        every: gradient steps from one to the next.
        last: number of the round's steps; after the last one there is nothing to keep.
        group: the processes that train.
        stop: set when this process shall end.
        writer: of one thread.
    """

    def __init__(
        self, url: str, every: int, last: int, *, group: Group, stop: threading.Event, writer: ThreadPoolExecutor
    ) -> None:
        self._url, self._every, self._last = url, every, last
        self._group, self._stop, self._writer = group, stop, writer
        self._attempt = uuid.uuid4().hex  # in each checkpoint: those of equal runs are never one version
        self._written: Future[tuple[str, float]] | None = None
        self._version: str | None = None
        self._count, self._waited, self._writing = 0, 0.0, 0.0

    def resume(self, policy: Policy, generator: torch.Generator) -> list[Metrics]:
        self._version, tensors, steps = self._group.broadcast(_read(self._url) if self._group.first else None)
        if not steps:
            return []
        parameters = policy.adapters.named_parameters()
        for name, parameter in parameters.items():
            parameter.data.copy_(tensors[f"adapter.{name}"])
        moments = {
            name.removeprefix("optimiser."): value for name, value in tensors.items() if name.startswith("optimiser.")
        }
        restore_tensors(policy.optimiser, parameters, moments, Path(self._url))
        adapters = policy.adapters
        average = {name.removeprefix(_AVERAGE): value for name, value in tensors.items() if name.startswith(_AVERAGE)}
        adapters.average = {name: value.to(parameters[name].device) for name, value in average.items()}
        generator.set_state(tensors[_GENERATOR])
        logger.info("going on after gradient step %d, from %s", len(steps), self._url)
        return list(steps)

    def keep(self, policy: Policy, generator: torch.Generator, steps: list[Metrics]) -> None:
        stopping = self._group.any(self._stop.is_set())
        if len(steps) == self._last:
            return
        if self._group.first and (stopping or len(steps) % self._every == 0):
            self._write(policy, generator, steps)
        if stopping:
            self._wait()
            self._group.broadcast(None)  # the others' end would be taken for a failure, and end the first one
            message = f"was asked to end; gradient step {len(steps)} of {self._last} is done and kept"
            raise Preempted(message, where="training", remedy=f"run it again: it goes on from {self._url}")

    def remove(self) -> None:
        self._wait()
        if self._group.first and self._version is not None:
            remove_published(self._url, self._version)

    def metrics(self) -> Metrics:
        if not self._count:
            return {}
        return {
            "training/checkpoints": float(self._count),
            "training/checkpoint_wait_seconds": self._waited,
            "training/checkpoint_write_seconds": self._writing,
        }

    def _write(self, policy: Policy, generator: torch.Generator, steps: list[Metrics]) -> None:
        started = time.perf_counter()
        self._wait()
        state = {"attempt": self._attempt, "steps": [dict(step) for step in steps]}
        tensors = _snapshot(policy, generator)
        self._written = self._writer.submit(_publish, self._url, tensors, state)
        self._count += 1
        self._waited += time.perf_counter() - started

    def _wait(self) -> None:
        """Wait for the checkpoint that is being written, and raise what went wrong with it."""
        if self._written is not None:
            self._version, seconds = self._written.result()
            self._writing += seconds
            self._written = None


@contextmanager
def round_checkpoints(
    settings: TrainingSettings, store: StoreSettings, key: Callable[[], str], group: Group
) -> Iterator[Checkpoints]:
    """The checkpoints of a round; within the block SIGTERM ends it after a step, with one, where it has any.

    Args:
        settings: how many steps there are from one to the next, and in all.
        store: where they are kept.
        key: gives their name; called only if there are to be any.
        group: the processes that train.
    """
    if not settings.checkpoint_every or store.url is None:
        yield NO_CHECKPOINTS
        return
    url = join(store.url, "checkpoints", *filter(None, [os.environ.get(PIPELINE_RUN_ENV)]), key())
    every, last = settings.checkpoint_every, settings.gradient_steps
    stop = threading.Event()
    asked = when_asked_to_end(stop.set, then=signal.SIG_DFL)
    with asked, ThreadPoolExecutor(1, thread_name_prefix="checkpoint") as writer:
        yield StoredCheckpoints(url, every, last, group=group, stop=stop, writer=writer)


def _snapshot(policy: Policy, generator: torch.Generator) -> dict[str, Tensor]:
    """Copies on the CPU of what a gradient step changes."""
    parameters = policy.adapters.named_parameters()
    tensors = {f"adapter.{name}": parameter.detach() for name, parameter in parameters.items()}
    tensors |= {f"{_AVERAGE}{name}": value for name, value in policy.adapters.average.items()}
    moments = optimiser_tensors(policy.optimiser, parameters)
    tensors |= {f"{_OPTIMISER}{name}": value for name, value in moments.items()}
    return {name: value.cpu().clone() for name, value in tensors.items()} | {_GENERATOR: generator.get_state()}


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _publish(url: str, tensors: dict[str, Tensor], state: dict[str, Any]) -> tuple[str, float]:
    """Write a checkpoint; returns its version and the seconds that it took."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="advantageflow-checkpoint-") as name:
        folder = Path(name)
        write_tensors(folder / _TENSORS_FILE, tensors)
        write_json(folder / _STATE_FILE, state)
        version = publish_folder(folder, url)
    return version, time.perf_counter() - started


def _read(url: str) -> tuple[str | None, dict[str, Tensor], list[Metrics]]:
    """Version, tensors and metrics of the checkpoint; none of them where there is none."""
    if not is_published(url):
        return None, {}, []
    try:
        with tempfile.TemporaryDirectory(prefix="advantageflow-checkpoint-") as name:
            folder = fetch_published(url, Path(name))
            return folder.name, read_tensors(folder / _TENSORS_FILE), read_json(folder / _STATE_FILE)["steps"]
    except StoreError as error:
        remedy = "delete the checkpoint there, and the round starts from its beginning; or check that place"
        raise StoreError(f"the checkpoint cannot be used: {error.message}", where=url, remedy=remedy) from error
