"""The processes that train together: which samples each takes, and the one sum over all of them in an optimiser step.

No `DistributedDataParallel`: it prepares its reduction in the model's forward, once for each backward, and a step here
calls the model up to three times with other adapters switched on (v_theta, v_roll, v_ref), over many microbatches, in a
process perhaps not at all. The adapter is all that is trained, so adding up its gradient when the last microbatch is
done takes a few lines, and has the cost of DDP under `no_sync` until that microbatch.
"""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from torch import Tensor, distributed
from torch.nn import Parameter

from advantageflow.errors import SettingsError, TrainingError

if TYPE_CHECKING:
    from advantageflow.training.step import Indices

T = TypeVar("T")

_PATIENCE = datetime.timedelta(hours=1)  # for the slowest process; one that ends has the others ended at once
_BACKENDS = {"cpu": "gloo", "cuda": "nccl"}


class Group:
    """One process by itself; what is over all processes is over this one.

    Attributes:
        rank: of this process.
        size: number of processes.
    """

    rank = 0
    size = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes what there is to write."""
        return self.rank == 0

    def indices(self, count: int) -> Indices:
        """The part of a step's `count` samples that this process takes; of equal size, or one less, or none."""
        return torch.arange(count).tensor_split(self.size)[self.rank]

    def add_up(self, parameters: Sequence[Parameter], totals: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add up the gradients of all processes, in place, and the totals of their metrics: none without samples."""
        return totals

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in any process."""
        return flag

    def broadcast(self, value: Any) -> Any:
        """The first process's value."""
        return value

    def gather(self, value: T) -> list[T]:
        """The value of each process, in order of their ranks; all processes get all."""
        return [value]

    def check_equal(self, value: str, what: str) -> None:
        """Make sure that all processes hold the same. Raises TrainingError: they do not."""


ALONE = Group()


class Processes(Group):
    """This process and others, connected through torch.distributed.

    Args:
        device: on which the processes exchange tensors.
    """

    def __init__(self, device: torch.device) -> None:
        self.rank = distributed.get_rank()
        self.size = distributed.get_world_size()
        self._device = device

    def add_up(self, parameters: Sequence[Parameter], totals: dict[str, Tensor]) -> dict[str, Tensor]:
        names = self.broadcast(list(totals))  # the first process always has samples
        zero = torch.zeros((), device=self._device)
        parts = [
            *((torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters),
            torch.tensor([p.grad is not None for p in parameters], device=self._device).float(),
            torch.stack([totals.get(name, zero).float() for name in names]),
        ]
        flat = torch.cat(parts)
        distributed.all_reduce(flat)
        *gradients, found, summed = flat.split([len(part) for part in parts])
        for parameter, gradient, processes in zip(parameters, gradients, found.tolist(), strict=True):
            # One that no process has a gradient of must stay without: AdamW would decay it.
            parameter.grad = gradient.view_as(parameter) if processes else None
        return dict(zip(names, summed, strict=True))

    def any(self, flag: bool) -> bool:
        flags = torch.tensor([float(flag)], device=self._device)
        distributed.all_reduce(flags)
        return flags.item() > 0

    def broadcast(self, value: Any) -> Any:
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    def gather(self, value: T) -> list[T]:
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    def check_equal(self, value: str, what: str) -> None:
        values = self.gather(value)
        different = [rank for rank, other in enumerate(values) if other != values[0]]
        if different:
            message = f"{what} is not the same in all processes: it differs in {', '.join(map(str, different))}"
            remedy = "train on GPUs of one kind, with one image: equal arithmetic keeps the processes together"
            raise TrainingError(message, where=f"training in {self.size} processes", remedy=remedy)


@contextmanager
def joined(device: Literal["cpu", "cuda"]) -> Iterator[Group]:
    """The group that RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT name.
    Raises SettingsError: there is no such GPU.

    These are set by torchrun, by `accelerate launch` and, through torchrun, by Kubeflow Trainer.

    Args:
        device: 'cpu' talks through gloo, 'cuda' through NCCL, each process with the GPU of its LOCAL_RANK.
    """
    exchange = torch.device(device)
    if device == "cuda":
        number = int(os.environ["LOCAL_RANK"])
        check_gpus(number + 1)
        exchange = torch.device(device, number)
        torch.cuda.set_device(exchange)  # from now on, plain 'cuda' is this one
    elif sys.platform == "linux" and os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # gloo else needs the host's name to resolve
    distributed.init_process_group(_BACKENDS[device], timeout=_PATIENCE)
    yield Processes(exchange)
    distributed.destroy_process_group()  # only in peace: after an error, NCCL would wait for the others


def check_gpus(processes: int) -> None:
    """Raises SettingsError where this machine has not a GPU for each process."""
    found = torch.cuda.device_count()
    if found < processes:
        message = f"{processes} processes on this machine need {processes} GPUs, and {found} can be used"
        remedy = "lower training.processes, ask for as many GPUs, or set model.device to cpu"
        raise SettingsError(message, where="training.processes", remedy=remedy)
