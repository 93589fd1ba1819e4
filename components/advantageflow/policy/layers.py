"""Linear layers with an adapter, in fewer passes over memory than PEFT's where their precision is low.

In float32 they compute what PEFT's do, bit for bit.
"""

from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.nn import functional

Weights = tuple[Tensor, Tensor, float]
"""A (rank, in) and B (out, rank) of an adapter, in the precision of its layer, and s."""


class LoraLinear(Linear):
    """PEFT's linear layer, `y = W x + b + s B A x`, in as few passes over y as its precision allows.

    One adapter at a time; its weights are float32 whatever the base's. Of a lower precision, A and B are rounded to it
    and each sum is part of a product, which accumulates in float32; gradients of A and B are rounded once, and added up
    in float32.

    Attributes:
        trained, frozen: A and B, rounded, of computations with gradient and without, as `round_adapters` has them made
            of all layers at once. None: the layer rounds its own.
    """

    trained: Weights | None = None
    frozen: Weights | None = None

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        result: Tensor
        base: Any = self.get_base_layer()
        if self.disable_adapters or self.merged:
            result = self.base_layer(x, *args, **kwargs)
            return result
        if base.weight.dtype == torch.float32:
            (name,) = self.active_adapters
            result, scale = self.base_layer(x, *args, **kwargs), self.scaling[name]
            added: Tensor = self.lora_B[name](self.lora_A[name](x))
            added = added if scale == 1.0 else added * scale
            # In place on what a linear layer gives, a view, autograd would copy the gradient twice.
            return result + added if torch.is_grad_enabled() else result.add_(added)
        weights = (self.trained if torch.is_grad_enabled() else self.frozen) or rounded_weights([self])[0]
        result = _Sum.apply(x.flatten(0, -2), base.weight, base.bias, *weights)
        return result.unflatten(0, x.shape[:-1])


class _Sum(torch.autograd.Function):
    """`x W^T + b + s x A^T B^T` of rows x, for frozen W and b; the gradients of A and B lack the factor s."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        low = functional.linear(x, down)
        ctx.save_for_backward(x, weight, down, up, low)
        ctx.scale = scale
        return functional.linear(x, weight, bias).addmm_(low, up.t(), alpha=scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, down, up, low = ctx.saved_tensors
        of_low = gradient @ up
        of_x = (gradient @ weight).addmm_(of_low, down, alpha=ctx.scale) if ctx.needs_input_grad[0] else None
        return of_x, None, None, of_low.t() @ x, gradient.t() @ low, None


class _Rounded(torch.autograd.Function):
    """Float32 tensors in a lower precision, all in one kernel; their gradients, multiplied by `scales`, in two."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, scales: Sequence[float], *values: Tensor) -> tuple[Tensor, ...]:
        ctx.scales = scales
        ctx.set_materialize_grads(False)  # a layer that nothing depends on has none
        rounded = tuple(torch.empty_like(value, dtype=dtype) for value in values)
        torch._foreach_copy_(rounded, values)
        return rounded

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        given = [gradient for gradient in gradients if gradient is not None]
        exact = [torch.empty_like(gradient, dtype=torch.float32) for gradient in given]
        torch._foreach_copy_(exact, given)
        scales = [scale for scale, gradient in zip(ctx.scales, gradients, strict=True) if gradient is not None]
        torch._foreach_mul_(exact, scales)
        rest = iter(exact)
        return None, None, *(None if gradient is None else next(rest) for gradient in gradients)


def round_adapters(transformer: nn.Module) -> None:
    """Whenever the transformer is called, round the active adapter of all layers of a lower precision at once."""
    layers = [module for module in transformer.modules() if isinstance(module, LoraLinear)]
    layers = [layer for layer in layers if layer.get_base_layer().weight.dtype != torch.float32]

    def before(module: nn.Module, inputs: object) -> None:
        if layers and not layers[0].disable_adapters:
            kept = "trained" if torch.is_grad_enabled() else "frozen"
            for layer, weights in zip(layers, rounded_weights(layers), strict=True):
                setattr(layer, kept, weights)

    transformer.register_forward_pre_hook(before)


def rounded_weights(layers: Sequence[LoraLinear]) -> list[Weights]:
    """The active adapter of layers of one lower precision, rounded to it."""
    (name,) = layers[0].active_adapters
    downs = [layer.lora_A[name].get_parameter("weight") for layer in layers]
    ups = [layer.lora_B[name].get_parameter("weight") for layer in layers]
    scales = [layer.scaling[name] for layer in layers]
    base: Any = layers[0].get_base_layer()
    rounded: tuple[Tensor, ...] = _Rounded.apply(base.weight.dtype, scales * 2, *downs, *ups)
    return list(zip(rounded[: len(layers)], rounded[len(layers) :], scales, strict=True))
