"""GenEval's colour classifier: CLIP ViT-L/14, zero-shot over ten colours, on objects cut out by their masks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from advantageflow.rewards.backbones.learned import LearnedReward
from advantageflow.rewards.backbones.pixels import centre_square
from advantageflow.rewards.backbones.pretrained import load_model, load_processor
from advantageflow.rewards.geneval.scoring import Detection
from advantageflow.rewards.geneval.spec import COLORS

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor
    from transformers import CLIPModel

MODEL = "openai/clip-vit-large-patch14"
TEMPLATES = ("a photo of a {color} {name}", "a photo of a {color}-colored {name}", "a photo of a {color} object")
BACKGROUND = (0x99, 0x99, 0x99)  # what surrounds an object that is cut out


class ColorClassifier:
    """Says which of the ten colours an object has. Raises RewardError: the model cannot be loaded.

    Args:
        model: hub id, or local folder, of a CLIP model with its tokenizer.
        reward: whose it is; says where and how it computes; objects, and texts, go through in batches.
    """

    def __init__(self, model: str, revision: str | None, reward: LearnedReward) -> None:
        from transformers import AutoTokenizer, CLIPModel

        self._reward = reward
        self.module: CLIPModel = load_model(CLIPModel, model, where=model, revision=revision)
        self._tokenizer: Any = load_processor(AutoTokenizer, model, where=model, revision=revision)
        self._size = int(self.module.config.vision_config.image_size)
        self._texts: dict[str, Tensor] = {}  # embeddings of the colours, by class name

    def classify(self, cutouts: Sequence[Image], names: Sequence[str]) -> list[str]:
        """The likeliest colour of each object from `cut_out`, by the name of its class."""
        from advantageflow.rewards.backbones.clip import image_embeddings

        if not cutouts:
            return []
        self._reward.place(self.module)
        pixels = partial(centre_square, side=self._size)
        seen = image_embeddings(self.module, pixels, [np.asarray(one) for one in cutouts], self._reward)
        likeness = [self._colors_of(name) @ one for name, one in zip(names, seen, strict=True)]
        return [COLORS[int(of_colors.argmax())] for of_colors in likeness]

    def _colors_of(self, name: str) -> Tensor:
        """(10, D): of each colour the mean of its templates' unit embeddings, at length 1."""
        from torch.nn.functional import normalize

        from advantageflow.rewards.backbones.clip import text_embeddings

        if name not in self._texts:
            texts = [template.format(color=color, name=name) for color in COLORS for template in TEMPLATES]
            embedded = text_embeddings(self.module, self._tokenizer, texts, self._reward)
            self._texts[name] = normalize(embedded.unflatten(0, (len(COLORS), len(TEMPLATES))).mean(dim=1), dim=-1)
        return self._texts[name]


def cut_out(image: np.ndarray, detection: Detection) -> Image:
    """The object alone: the image where its mask is, #999 elsewhere, cropped to its box; without a mask, the crop."""
    from PIL import Image

    picture = Image.fromarray(image)
    if detection.mask is not None:
        blank = Image.new("RGB", picture.size, BACKGROUND)
        picture = Image.composite(picture, blank, Image.fromarray(detection.mask))
    left, top, right, bottom = (round(side) for side in detection.box)
    return picture.crop((left, top, right, bottom))
