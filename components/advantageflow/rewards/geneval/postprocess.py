"""From Mask2Former's query logits to detections: scores, classes, masks in the image's own pixels, boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from advantageflow.rewards.geneval.scoring import THRESHOLD, Detection

if TYPE_CHECKING:
    from torch import Tensor

QUERIES = 100  # (query, class) pairs that are kept of an image, the likeliest
_EPSILON = 1e-6  # of the mean over a mask's pixels


@dataclass(frozen=True)
class Sizes:
    """Heights and widths that an image goes through, in pixels.

    Attributes:
        original: as it was given.
        resized: as the detector saw it.
        padded: with the padding, at the bottom and on the right, that completed its batch.
    """

    original: tuple[int, int]
    resized: tuple[int, int]
    padded: tuple[int, int]


def detections(
    class_logits: Tensor, mask_logits: Tensor, sizes: Sizes, *, least: float = THRESHOLD, most: int = QUERIES
) -> list[Detection]:
    """One image's detections, surest first, with masks and boxes in the original image; overlaps are not suppressed.

    score = p(class) * mean of sigmoid(mask logit) over the mask, which is where the logit is above 0. The mask logits
    are resized as GenEval's detector does it: bilinearly to the padded size, cut to the image, then to the original.

    Args:
        class_logits: (Q, C + 1), the last class being 'no object'.
        mask_logits: (Q, h, w), over the padded image.
        sizes: of the image.
        least: only detections with a higher score are given.
        most: (query, class) pairs that are looked at, the likeliest.
    """
    probabilities = class_logits.float().softmax(dim=-1)[:, :-1]
    classes = probabilities.shape[1]
    likeliest = probabilities.flatten().topk(min(most, probabilities.numel()))
    # A score is at most its class probability: masks that cannot be sure enough need not be resized.
    pairs = [(p, i // classes, i % classes) for p, i in zip(*map(_list, likeliest), strict=True) if p > least]
    masks = _Masks(mask_logits, sizes)
    found: list[Detection] = []
    for probability, query, index in pairs:
        mask, certainty = masks.of(query)
        score = probability * certainty
        if score > least:
            found.append(Detection(index, score, _box(mask), mask.cpu().numpy()))
    return sorted(found, key=lambda one: -one.score)


class _Masks:
    """Masks of queries in the original image, each resized once, when it is asked for."""

    def __init__(self, logits: Tensor, sizes: Sizes) -> None:
        self._logits, self._sizes = logits, sizes
        self._known: dict[int, tuple[Tensor, float]] = {}

    def of(self, query: int) -> tuple[Tensor, float]:
        """The mask (H, W), bool, and its mean probability; 0 for an empty one."""
        if query not in self._known:
            logits = _resize(self._logits[query].float(), self._sizes.padded)
            height, width = self._sizes.resized
            logits = _resize(logits[:height, :width], self._sizes.original)
            mask = logits > 0
            certainty = (logits.sigmoid() * mask).sum() / (mask.sum() + _EPSILON)
            self._known[query] = mask, float(certainty)
        return self._known[query]


def _resize(logits: Tensor, size: tuple[int, int]) -> Tensor:
    from torch.nn import functional

    return functional.interpolate(logits[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]


def _box(mask: Tensor) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of a mask that is not empty; right and bottom exclusive."""
    columns, rows = mask.any(dim=0).nonzero(), mask.any(dim=1).nonzero()
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _list(values: Tensor) -> list[float]:
    return values.tolist()
