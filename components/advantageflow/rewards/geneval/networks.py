"""GenEval's networks: Mask2Former Swin-S finds objects (COCO instances), CLIP ViT-L/14 says which colour they have."""

from collections.abc import Sequence
from functools import cache, partial
from itertools import groupby
from typing import Any

import numpy as np

from advantageflow.annotations import Image, Tensor
from advantageflow.errors import RewardError
from advantageflow.rewards.backbones.learned import LearnedReward
from advantageflow.rewards.backbones.pixels import centre_square
from advantageflow.rewards.backbones.pretrained import load_model, load_processor
from advantageflow.rewards.geneval.scoring import THRESHOLD, Detection
from advantageflow.rewards.geneval.spec import CLASSES, COLORS

CLIP_MODEL = "openai/clip-vit-large-patch14"
TEMPLATES = ("a photo of a {color} {name}", "a photo of a {color}-colored {name}", "a photo of a {color} object")
BACKGROUND = (0x99, 0x99, 0x99)  # what surrounds an object that is cut out
MODEL = "facebook/mask2former-swin-small-coco-instance"
SHORT_SIDE, LONG_SIDE = 800, 1333  # pixels: an image is scaled to fit the tighter of the two
QUERIES = 100  # (query, class) pairs that are looked at, the likeliest
_MULTIPLE = 32  # pixels: the coarsest stride of the backbone, to which images are padded
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of ImageNet, RGB, 0 .. 255
_EPSILON = 1e-6  # of the mean over a mask's pixels


class Detector:
    """Finds objects of the 80 COCO classes. Raises RewardError: the model cannot be loaded, or has not 80 classes.

    Args:
        model: hub id, or local folder, of a Mask2Former for COCO instances.
        reward: whose it is; says where and how it computes. The images of one forward pass are equally large.
        sides: short and long side that images are scaled to, pixels.
    """

    def __init__(
        self, model: str, revision: str | None, reward: LearnedReward, sides: tuple[int, int] = (SHORT_SIDE, LONG_SIDE)
    ) -> None:
        from transformers import Mask2FormerForUniversalSegmentation

        self._reward, self._sides = reward, sides
        self.module: Mask2FormerForUniversalSegmentation = load_model(
            Mask2FormerForUniversalSegmentation, model, where=model, revision=revision
        )
        if self.module.config.num_labels != len(CLASSES):
            message = f"has {self.module.config.num_labels} classes; GenEval's are the {len(CLASSES)} of COCO, by index"
            raise RewardError(message, where=model, remedy=f"give a Mask2Former of COCO instances, such as {MODEL}")

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
        """The objects in each image with a confidence above 0.3, surest first.

        Images are uint8 arrays (H, W, 3), RGB, of any sizes. Raises RewardError if a GPU is asked for and not there.
        """
        self._reward.place(self.module)
        found: list[list[Detection]] = [[] for _ in images]
        by_size = sorted(range(len(images)), key=lambda number: images[number].shape)
        for _, of_size in groupby(by_size, key=lambda number: images[number].shape):
            for chunk in self._reward.batches(list(of_size)):
                for number, objects in zip(chunk, self._forward([images[n] for n in chunk]), strict=True):
                    found[number] = objects
        return found

    def _forward(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
        """Objects of images of one size."""
        import torch

        height, width = images[0].shape[:2]
        resized = target_size(height, width, self._sides)
        pixels = torch.stack([prepare(image, resized) for image in images])
        padded = (int(pixels.shape[2]), int(pixels.shape[3]))
        with torch.inference_mode():
            output = self.module(pixels.to(self._reward.device, self.module.dtype))
            queries = zip(output.class_queries_logits, output.masks_queries_logits, strict=True)
            return [detections(classes, masks, (height, width), resized, padded) for classes, masks in queries]


def target_size(height: int, width: int, sides: tuple[int, int] = (SHORT_SIDE, LONG_SIDE)) -> tuple[int, int]:
    """Height and width of the image scaled, its shape kept, to fit a short and a long side (rounded half up)."""
    short, long = sides
    scale = min(short / min(height, width), long / max(height, width))
    return int(height * scale + 0.5), int(width * scale + 0.5)


def prepare(image: np.ndarray, size: tuple[int, int]) -> Tensor:
    """An RGB image (H, W, 3) as the detector takes it: (3, h, w) float32, resized, normalised, padded with the mean.

    Resized bilinearly without antialiasing, as OpenCV does for GenEval's detector; padded at the bottom and on the
    right to multiples of 32.
    """
    import torch
    from torch.nn import functional

    pixels = torch.tensor(image).permute(2, 0, 1)[None].float()
    pixels = functional.interpolate(pixels, size=size, mode="bilinear", align_corners=False)[0]
    mean, std = (torch.tensor(values)[:, None, None] for values in (_MEAN, _STD))
    down, right = (-side % _MULTIPLE for side in size)
    return functional.pad((pixels - mean) / std, (0, right, 0, down))


def detections(
    class_logits: Tensor,
    mask_logits: Tensor,
    original: tuple[int, int],
    resized: tuple[int, int],
    padded: tuple[int, int],
) -> list[Detection]:
    """One image's detections, surest first, with masks and boxes in the original image; overlaps are not suppressed.

    score = p(class) * mean of sigmoid(mask logit) over the mask, which is where the logit is above 0. The mask logits
    are resized as GenEval's detector does it: bilinearly to the padded size, cut to the image, then to the original.

    Args:
        class_logits: (Q, C + 1), the last class being 'no object'.
        mask_logits: (Q, h, w), over the padded image.
        original: height and width of the image as it was given.
        resized: as the detector saw it.
        padded: with the padding, at the bottom and on the right, that completed its batch.
    """

    @cache
    def mask_of(query: int) -> tuple[Tensor, float]:
        """A query's mask (H, W), bool, and its mean probability; 0 for an empty one."""
        height, width = resized
        logits = _resize(_resize(mask_logits[query].float(), padded)[:height, :width], original)
        mask = logits > 0
        return mask, float((logits.sigmoid() * mask).sum() / (mask.sum() + _EPSILON))

    probabilities = class_logits.float().softmax(dim=-1)[:, :-1]
    likeliest = probabilities.flatten().topk(min(QUERIES, probabilities.numel()))
    found: list[Detection] = []
    for probability, number in zip(likeliest.values.tolist(), likeliest.indices.tolist(), strict=True):
        query, index = divmod(number, probabilities.shape[1])
        if probability <= THRESHOLD:
            break  # a score is at most its class probability: further masks need not be resized
        mask, certainty = mask_of(query)
        if probability * certainty > THRESHOLD:
            found.append(Detection(index, probability * certainty, _box(mask), mask.cpu().numpy()))
    return sorted(found, key=lambda one: -one.score)


def _resize(logits: Tensor, size: tuple[int, int]) -> Tensor:
    from torch.nn import functional

    return functional.interpolate(logits[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]


def _box(mask: Tensor) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of a mask that is not empty; right and bottom exclusive."""
    columns, rows = mask.any(dim=0).nonzero(), mask.any(dim=1).nonzero()
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


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
