"""The head that turns an embedding into a number in both ImageReward and the LAION aesthetic predictor."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from advantageflow.errors import RewardError

WIDTHS = (1024, 128, 64, 16, 1)
NAMES = ("layers.0", "layers.2", "layers.4", "layers.6", "layers.7")  # between them the originals have dropout


class LinearHead(nn.Module):
    """Five linear layers with nothing between them, (N, D) to (N,).

    Source: the MLP of christophschuhmann/improved-aesthetic-predictor, which ImageReward took over. Published heads
    were trained without activations ("linearMSE").
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        pairs = zip((width, *WIDTHS[:-1]), WIDTHS, strict=True)
        self.layers = nn.Sequential(*(nn.Linear(before, after) for before, after in pairs))

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        values: torch.Tensor = self.layers(embeddings).squeeze(-1)
        return values

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor], *, where: str) -> LinearHead:
        """A head in float32 from a checkpoint in the original's layout.

        Raises:
            RewardError: it is not the checkpoint of such a head; names the tensor.
        """
        wanted = {f"{name}.{part}" for name in NAMES for part in ("weight", "bias")}
        if set(tensors) != wanted:
            message = (
                f"is not a checkpoint of the five linear layers: {sorted(set(tensors) ^ wanted)[0]} is not in both"
            )
            raise RewardError(message, where=where, remedy="give sac+logos+ava1-l14-linearMSE, or one of its layout")
        head = cls(tensors["layers.0.weight"].shape[-1])
        renamed = {
            f"layers.{number}.{part}": tensors[f"{name}.{part}"]
            for number, name in enumerate(NAMES)
            for part in ("weight", "bias")
        }
        try:
            head.load_state_dict(renamed)
        except RuntimeError as error:
            message = f"is not a checkpoint of the five linear layers: {str(error).splitlines()[-1].strip()}"
            remedy = "give sac+logos+ava1-l14-linearMSE, or one of its layout"
            raise RewardError(message, where=where, remedy=remedy) from error
        return head
