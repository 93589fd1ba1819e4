"""A linear layer with an adapter, `y = W x + b + s B A x`, in as few passes over y as its precision allows."""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.nn import functional


class LoraLinear(Linear):
    """PEFT's layer, one adapter at a time; the adapter's weights are float32 whatever the base's.

    A float32 layer gives PEFT's result, bit for bit. Of a lower precision, A and B are rounded to it and the sum is
    part of the product with B, which accumulates in float32; gradients of A and B are rounded once, and added up in
    float32.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        result: Tensor = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters or self.merged:
            return result
        (name,) = self.active_adapters
        down, up, scale = self.lora_A[name], self.lora_B[name], self.scaling[name]
        if self.get_base_layer().weight.dtype == torch.float32:
            added: Tensor = up(down(x))
            return result.add_(added if scale == 1.0 else added * scale)
        low = functional.linear(x, down.get_parameter("weight").to(x.dtype))
        up = (up.get_parameter("weight") * scale).to(x.dtype)
        return torch.addmm(result.flatten(0, -2), low.flatten(0, -2), up.t()).view(result.shape)


def compute_adapters_cheaply(transformer: nn.Module) -> None:
    """Have every adapter on a linear layer computed as `LoraLinear` does."""
    for layer in transformer.modules():
        if type(layer) is Linear:
            layer.__class__ = LoraLinear
