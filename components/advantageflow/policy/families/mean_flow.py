"""Mean flows: Stable Diffusion 3's transformer as a model of average velocities, which a few steps sample from.

Geng et al., "Mean Flows for One-step Generative Modeling", arXiv 2505.13447.
"""

import math

import torch
from torch import Tensor, nn

from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.families.base import Times
from advantageflow.policy.families.parts import Latents
from advantageflow.policy.families.stable_diffusion_3 import StableDiffusion3


class MeanFlow(StableDiffusion3):
    """`u(x_t, t, h) = (x_t - x_(t-h)) / h`, the mean of the velocity on the way from t to t - h; at h = 0 it is v.

    The transformer is told h beside `pooled`, to which features of h are added that are 0 at h = 0: there the model
    is the flow whose weights it has, which is where its distillation starts. A step of Euler's over h is exact for an
    exact u. diffusers has no pipeline of it: MeanFlowPipeline is a name of this package's own in model_index.json.
    """

    pipeline = "MeanFlowPipeline"
    averages = True

    def velocity(self, transformer: nn.Module, x_t: Latents, t: Times, conditioning: Conditioning) -> Latents:
        """u over the interval that the conditioning names, of no length where it names none."""
        told = dict(conditioning.tensors)
        if (length := told.pop("interval", None)) is not None:
            told["pooled"] = told["pooled"] + interval_features(length, told["pooled"].shape[-1]).to(told["pooled"])
        return super().velocity(transformer, x_t, t, Conditioning(told))


def interval_features(length: Times, width: int) -> Tensor:
    """`sin(w h)` and `cos(w h) - 1` for frequencies w from pi / 2 to 8 pi, (batch, width); 0 at h = 0."""
    steps = torch.linspace(0, 1, width // 2, dtype=torch.float64, device=length.device)
    angles = length.double()[:, None] * (math.pi / 2 * 16**steps)
    return torch.cat([angles.sin(), angles.cos() - 1], dim=1)
