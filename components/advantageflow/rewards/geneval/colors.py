"""GenEval's colour classifier: CLIP ViT-L/14, zero-shot over ten colours, on objects cut out by their masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from advantageflow.rewards.geneval.classes import COLORS
from advantageflow.rewards.geneval.pretrained import Device, DType, check_device, load
from advantageflow.rewards.geneval.scoring import Detection

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image
    from torch import Tensor
    from transformers import CLIPModel

MODEL = "openai/clip-vit-large-patch14"
TEMPLATES = ("a photo of a {color} {name}", "a photo of a {color}-colored {name}", "a photo of a {color} object")
BACKGROUND = (0x99, 0x99, 0x99)  # what surrounds an object that is cut out
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of CLIP, RGB, 0 .. 1


class ColorClassifier:
    """Says which of the ten colours an object has.

    Args:
        model: hub id, or local folder, of a CLIP model with its tokenizer.
        revision: hub commit, tag or branch.
        device: where it runs.
        dtype: precision of the weights.
        batch: objects in one forward pass.

    Raises:
        RewardError: the model cannot be loaded.
    """

    def __init__(
        self,
        model: str = MODEL,
        revision: str | None = None,
        *,
        device: Device = "cpu",
        dtype: DType = "float32",
        batch: int = 16,
    ) -> None:
        import torch
        from transformers import AutoTokenizer, CLIPModel

        self._name, self._device, self._batch = model, device, batch
        self._dtype = getattr(torch, dtype)
        self.module: CLIPModel = load(CLIPModel, model, revision, dtype=self._dtype)
        self.module.requires_grad_(False).eval()
        self._tokenizer: Any = load(AutoTokenizer, model, revision)
        self._size = int(self.module.config.vision_config.image_size)
        self._texts: dict[str, Tensor] = {}  # embeddings of the colours, by class name

    def classify(self, cutouts: Sequence[Image], names: Sequence[str]) -> list[str]:
        """The likeliest colour of each object.

        Args:
            cutouts: from `cut_out`.
            names: class of each.

        Raises:
            RewardError: a GPU is asked for and there is none.
        """
        import torch

        check_device(self._device, self._name)
        self.module.to(self._device)
        colors: list[str] = []
        with torch.inference_mode():
            for start in range(0, len(cutouts), self._batch):
                pixels = torch.stack([prepare(one, self._size) for one in cutouts[start : start + self._batch]])
                embedded = _unit(self.module.get_image_features(pixel_values=pixels.to(self._device, self._dtype)))
                for one, name in zip(embedded, names[start : start + self._batch], strict=True):
                    colors.append(COLORS[int((self._colors_of(name) @ one).argmax())])
        return colors

    def _colors_of(self, name: str) -> Tensor:
        """(10, D): of each colour the mean of its templates' unit embeddings, at length 1."""
        if name not in self._texts:
            texts = [template.format(color=color, name=name) for color in COLORS for template in TEMPLATES]
            limit = int(self.module.config.text_config.max_position_embeddings)
            tokens = self._tokenizer(
                texts, padding="max_length", truncation=True, max_length=limit, return_tensors="pt"
            ).to(self._device)
            features = self.module.get_text_features(tokens["input_ids"], attention_mask=tokens["attention_mask"])
            mean = _unit(features).unflatten(0, (len(COLORS), len(TEMPLATES))).mean(dim=1)
            self._texts[name] = mean / mean.norm(dim=-1, keepdim=True)
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


def prepare(picture: Image, size: int) -> Tensor:
    """A picture as CLIP takes it, (3, size, size) float32: short side resized bicubically, centre cropped."""
    import numpy as np
    import torch
    from PIL.Image import Resampling

    scale = size / min(picture.size)
    width, height = (max(size, int(side * scale)) for side in picture.size)
    resized = picture.resize((width, height), Resampling.BICUBIC)
    left, top = round((width - size) / 2), round((height - size) / 2)
    pixels = torch.tensor(np.asarray(resized.crop((left, top, left + size, top + size)))).permute(2, 0, 1) / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (_MEAN, _STD))
    return (pixels - mean) / std


def _unit(features: Any) -> Tensor:
    """Embeddings (N, D) at length 1, float32; newer transformers wrap them in an output object."""
    embeddings: Tensor = getattr(features, "pooler_output", features).float()
    return embeddings / embeddings.norm(dim=-1, keepdim=True)
