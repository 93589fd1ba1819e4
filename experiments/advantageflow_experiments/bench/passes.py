"""What one transformer block does for one training sample beside its matrix products: kernels, and bytes they move.

Counted on the CPU at SD3.5-Medium's true width, forward and backward: eagerly on the meta device, operation by
operation; compiled, by what the compiler generates. On a GPU more of a block's time goes to these passes over memory
than to products.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from advantageflow.policy.layers import LoraLinear, round_adapters, rounded_weights
from advantageflow.policy.loading import compile_blocks
from advantageflow.store.files import write_json
from advantageflow_experiments.bench.true_shape import SD35_MEDIUM, Shape
from advantageflow_pipelines.plan.footprint import fused_kernels
from advantageflow_pipelines.plan.skeleton import META, Skeleton

JSON_FILE = "block.json"
TEXT_TOKENS = 333  # of CLIP 77, of T5 256
SMALL = 10**6  # bytes: a kernel that moves fewer takes no longer than its launch
_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "_scaled_dot_product")
_NO_KERNEL = ("detach", "_unsafe_view", "empty", "empty_like", "new_empty_strided")


@dataclass(frozen=True)
class Passes:
    """Kernels of a block, forward and backward, and the bytes that they read and write; products and attention apart.

    `small` are those that move less than a megabyte, as casts of an adapter's weights.
    """

    kernels: int
    bytes: int
    small: int
    products: int
    product_bytes: int


def count_eager(shape: Shape = SD35_MEDIUM) -> Passes:
    """Count the first block of a transformer, with adapters and a bfloat16 base."""
    model, inputs = _block(shape, META)
    with _Operations() as operations, fused_kernels():
        _backward(model(*inputs))
    return _sum(operations.found)


def count_compiled(shape: Shape = SD35_MEDIUM) -> Passes:
    """The same block compiled, which takes a minute: what was compiled before is not used."""
    model, inputs = _block(shape, torch.device("cpu"))
    compile_blocks(model, shape.configs.family)
    with _compiled_nodes() as nodes:
        _backward(model(*inputs))
    # The compiler's element is four bytes, and a node without a kernel of its own has none.
    compiled = [(node.is_extern(), 4 * elements) for node, elements in nodes if elements]
    layers = [module for module in model.modules() if isinstance(module, LoraLinear)]
    model.zero_grad()
    with _Operations() as beside:  # the model's adapters are rounded before its blocks run
        _backward([weights for one in rounded_weights(layers) for weights in one[:2]])
    return _sum(compiled + beside.found)


def write_block(counted: Mapping[str, Passes], out: Path) -> None:
    """Write block.json into a folder. Raises StoreError: it cannot be written."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / JSON_FILE, {name: asdict(passes) for name, passes in counted.items()})


class _Block(nn.Module):
    """The first block of a transformer, with adapters, as all of the model."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        round_adapters(self)

    def forward(self, *inputs: Tensor) -> Any:
        return self.block(*inputs)


def _block(shape: Shape, device: torch.device) -> tuple[nn.Module, list[Tensor]]:
    """The block, and the hidden states of image and text and the time embedding of a sample."""
    transformer: Any = Skeleton(shape.configs, torch.bfloat16, shape.limit).policy(shape.training.lora).transformer
    config, tokens = transformer.config, (shape.image_size // 16) ** 2
    width = config.num_attention_heads * config.attention_head_dim
    block = transformer.transformer_blocks[0].to_empty(device=device)
    shapes = ((1, tokens, width), (1, TEXT_TOKENS, width), (1, width))
    inputs = [torch.zeros(one, dtype=torch.bfloat16, device=device, requires_grad=len(one) == 3) for one in shapes]
    return _Block(block), inputs


def _backward(outputs: Sequence[Tensor]) -> None:
    """Backward from outputs, for any gradient of them."""
    torch.autograd.backward(outputs, [torch.empty_like(output) for output in outputs])


class _Operations(TorchDispatchMode):
    """Counts each operation that is a kernel of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[bool, int]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.partition("::")[2]
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
        if tensors and not func.is_view and name not in _NO_KERNEL:
            size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
            self.found.append((name.startswith(_PRODUCTS), size))
        return result


@contextmanager
def _compiled_nodes() -> Iterator[list[Any]]:
    """What the compiler generates in the block, with the bytes of each."""
    from torch._inductor import compile_fx, config, metrics

    logger = compile_fx.inductor_metrics_log  # what makes the compiler keep the sizes is this logger's level
    before = logger.level, logger.propagate
    metrics.reset()
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        with config.patch(fx_graph_cache=False), torch._functorch.config.patch(enable_autograd_cache=False):
            yield metrics.nodes_num_elem
    finally:
        logger.setLevel(before[0])
        logger.propagate = before[1]


def _sum(found: list[tuple[bool, int]]) -> Passes:
    kernels, products = ([size for product, size in found if product == wanted] for wanted in (False, True))
    small = sum(size < SMALL for size in kernels)
    return Passes(len(kernels), sum(kernels), small, len(products), sum(products))
