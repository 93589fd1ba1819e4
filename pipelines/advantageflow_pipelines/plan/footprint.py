"""Memory that a computation takes at most, found by running it where tensors have shapes and no data: the meta device.

What would be allocated is added up operation by operation, and taken off again when the last tensor on it goes, as
PyTorch's allocator on a GPU does; that this rounds up to 512 bytes is left out. Neither a GPU nor the memory is needed,
and nothing is modelled by hand.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def footprint(compute: Callable[[], object], resident: Iterable[Tensor]) -> int:
    """Bytes that a computation allocates at most, at any time in it; running it on the meta device takes no memory.

    Attention and RMS norms are computed by one fused kernel each, as on a GPU.

    Args:
        resident: tensors that are there anyway, such as weights and inputs: views of them cost nothing.
    """
    with fused_kernels(), Allocations(resident) as allocations:
        compute()
    return allocations.peak


def tensor_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of tensors' elements."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class Allocations(TorchDispatchMode):
    """Follows each new storage from the operation that makes it to its end: bytes `live` now, and at their `peak`."""

    def __init__(self, resident: Iterable[Tensor]) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        for tensor in resident:
            self._note(tensor, counted=False)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._note(leaf, counted=True)
        return result

    def _note(self, tensor: Tensor, *, counted: bool) -> None:
        storage = tensor.untyped_storage()
        if id(storage) in self._known:
            return
        size = storage.nbytes() if counted else 0
        self.live += size
        self.peak = max(self.peak, self.live)
        key = id(storage)

        def gone(_: object) -> None:
            self.live -= size
            self._known.pop(key, None)

        self._known[key] = weakref.ref(storage, gone)


@contextmanager
def fused_kernels() -> Iterator[None]:
    """Attention without a mask and RMS norms by one kernel each, as on a GPU; the meta device would write them out.

    Functions are replaced, not a mode entered: a mode is not active in recomputations, which a backward pass calls.
    """
    usual = functional.scaled_dot_product_attention, functional.rms_norm

    def attention(query: Tensor, key: Tensor, value: Tensor, *rest: Any, **options: Any) -> Tensor:
        masked = any(one is not None for one in (*rest[:1], options.get("attn_mask"))) or options.get("is_causal")
        if masked:
            return usual[0](query, key, value, *rest, **options)
        fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        output: Tensor = fused(query, key, value, scale=options.get("scale"))[0]
        return output

    functional.scaled_dot_product_attention = attention
    functional.rms_norm = lambda x, *shape_and_weight: _Norm.apply(x)
    try:
        yield
    finally:
        functional.scaled_dot_product_attention, functional.rms_norm = usual


class _Norm(torch.autograd.Function):
    """What the kernels of an RMS norm with a frozen weight read, write and keep, not what they compute."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x, torch.empty(x.shape[:-1], device=x.device))
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x: Tensor = ctx.saved_tensors[0]
        return gradient + x
