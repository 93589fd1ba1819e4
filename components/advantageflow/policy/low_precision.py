"""Adapters of a low-precision base: kept in float32, computed in the precision of the layers that they belong to."""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.nn import functional


class LowPrecisionLora(Linear):
    """`y + s B A x` with A and B rounded to the precision of `y = W x + b`, without a pass over y of its own.

    The sum is part of the product with B, which accumulates it in float32; the gradients of A and B are rounded once,
    and added up in float32.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        result: Tensor = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters or self.merged:
            return result
        (name,) = self.active_adapters
        a, b = self.lora_A[name].get_parameter("weight"), self.lora_B[name].get_parameter("weight")
        low, up = functional.linear(x, a.to(x.dtype)), (b * self.scaling[name]).to(x.dtype)
        return torch.addmm(result.flatten(0, -2), low.flatten(0, -2), up.t()).view(result.shape)


def compute_in_base_precision(transformer: nn.Module) -> None:
    """Have every adapter on a linear layer that is not float32 computed in the layer's precision."""
    for layer in transformer.modules():
        if type(layer) is Linear and layer.get_base_layer().weight.dtype != torch.float32:
            layer.__class__ = LowPrecisionLora
