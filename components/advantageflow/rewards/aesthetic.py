"""LAION aesthetic score: how much people would like an image on its own, by CLIP and a small head."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from advantageflow.records import Prompt
from advantageflow.rewards.backbones.learned import LearnedReward
from advantageflow.rewards.backbones.pretrained import find_file, load_model, read_tensors, weights_hash
from advantageflow.rewards.base import Result

FILES = (
    "sac+logos+ava1-l14-linearMSE.safetensors",
    "sac+logos+ava1-l14-linearMSE.pth",
    "aesthetic-model.safetensors",
    "aesthetic-model.pth",
)


class AestheticReward(LearnedReward):
    """LAION aesthetic score (0 to 10): a head on CLIP ViT-L/14's image embedding; the prompt is not read.

    Follows simple_inference.py of christophschuhmann/improved-aesthetic-predictor with its head
    sac+logos+ava1-l14-linearMSE, on transformers' CLIPModel and its processor as in DDPO, TRL and Flow-GRPO: the
    embedding is scaled to length 1, the head has no activations. It was trained on ratings of 1 to 10 and gives about 4
    to 7 for photographs and paintings. Nothing in the formula ends at 0 or 10, and a policy that exploits it goes
    beyond; the declared range leaves room for that.

    Attributes:
        model: hub id or folder of a CLIPModel with its image processor.
        head: hub id, folder or file of the head: .safetensors, or the published .pth, read by
            torch.load(weights_only=True). The default is TRL's copy of sac+logos+ava1-l14-linearMSE.
        revision: branch, tag or commit of the CLIP model on the hub.
        device, batch, dtype: see LearnedReward; the head always computes in float32.
    """

    name = "aesthetic"
    columns: ClassVar[Mapping[str, tuple[float, float]]] = {"score": (-10.0, 20.0)}

    model: str = "openai/clip-vit-large-patch14"
    head: str = "trl-lib/ddpo-aesthetic-predictor"
    revision: str | None = None

    def score(self, prompts: Sequence[Prompt], images: Sequence[np.ndarray]) -> list[Result]:
        """Score each image; no details. Raises RewardError if the model cannot be loaded."""
        import torch

        from advantageflow.rewards.backbones.clip import image_embeddings

        if not images:
            return []
        model, pixels, head, _ = self._parts
        with torch.inference_mode():
            values = head(image_embeddings(model, pixels, images, self)).tolist()
        return [({"score": value}, {}) for value in values]

    @cached_property
    def _parts(self) -> tuple[Any, Any, Any, str]:
        """CLIP, its image processor, the head, and the hash of the weights of both."""
        from transformers import CLIPModel

        from advantageflow.rewards.backbones.clip import load_clip_pixels
        from advantageflow.rewards.backbones.image_reward import LinearHead

        where = self.where("model")
        model = load_model(CLIPModel, self.model, where=where, revision=self.revision)
        pixels = load_clip_pixels(self.model, where=where, revision=self.revision)
        where = self.where("head")
        path = find_file(self.head, FILES, where=where)
        head = LinearHead.of(read_tensors(path, where=where), where=f"{where}, {path}")
        weights = weights_hash(model, head)
        return self.place(model), pixels, self.place(head, dtype="float32"), weights
