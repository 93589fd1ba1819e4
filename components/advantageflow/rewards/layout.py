"""Layout: whether a picture is well composed, from the picture alone; a reward that knows nothing of the prompt."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from advantageflow.records import Prompt
from advantageflow.rewards.base import Result
from advantageflow.rewards.plumbing.results import check_rgb

DISTANCE = 60.0  # RGB units from the background above which a pixel stands out; the range is 0 .. 441
SMALLEST = 0.005  # share of the picture; smaller specks are noise
LARGEST = 0.75  # share of the picture; what covers more leaves no background to stand out from


class LayoutReward:
    """Aesthetics of a scene: contrast, centring, and beauty, which is their product.

    The background is the median colour of the picture's border; the foreground, all connected areas of at least 0.5 %
    of the picture whose pixels are more than 60 RGB units from it. A picture without foreground, or with more than
    75 % of it, shows no figure on a ground: blank pictures, specks and noise get the lowest value, 0, in every column.

    Columns, each in [0, 1]:
        contrast: mean RGB distance of the foreground from the background, divided by the largest distance that any
            colour can have from this background. 1: the whole foreground is as far as a colour can be.
        centring: 1 - the distance between the foreground's centre of mass and the picture's centre, as a share of the
            half diagonal. 1: in the middle; towards 0: in a corner.
        beauty: contrast times centring, so that neither is bought with the other.
    """

    name = "layout"
    version = "1"
    columns: ClassVar[Mapping[str, tuple[float, float]]] = {
        "contrast": (0.0, 1.0),
        "centring": (0.0, 1.0),
        "beauty": (0.0, 1.0),
    }
    higher_is_better = True

    def check(self, prompt: Prompt) -> None:
        """Any prompt will do."""

    def score(self, prompts: Sequence[Prompt], images: Sequence[np.ndarray]) -> list[Result]:
        """Measure each image; details hold the foreground's share of the picture and its centre (x, y in [0, 1])."""
        return [_result(image) for image in images]


def _result(image: NDArray[np.uint8]) -> Result:
    """Raises ValueError if the image is not (H, W, 3) uint8."""
    check_rgb(image)
    pixels = image.astype(np.float64)
    background = np.median(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]), axis=0)
    distance = np.linalg.norm(pixels - background, axis=2)
    foreground = _without_specks(distance > DISTANCE)
    share = float(foreground.mean())
    if not 0 < share <= LARGEST:
        return {"contrast": 0.0, "centring": 0.0, "beauty": 0.0}, {"foreground": share, "centre": None}
    farthest = np.linalg.norm(np.maximum(background, 255 - background))
    contrast = min(1.0, float(distance[foreground].mean() / farthest))  # a mean of equal numbers may round up
    rows, columns = np.nonzero(foreground)
    x, y = (float((place.mean() + 0.5) / size) for place, size in ((columns, image.shape[1]), (rows, image.shape[0])))
    centring = float(1 - np.hypot(x - 0.5, y - 0.5) / np.hypot(0.5, 0.5))
    values = {"contrast": contrast, "centring": centring, "beauty": contrast * centring}
    details: dict[str, Any] = {"foreground": share, "centre": [x, y]}
    return values, details


def _without_specks(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask without connected areas that are smaller than SMALLEST of the picture."""
    labels, _ = ndimage.label(mask)
    keep = np.bincount(labels.ravel()) >= SMALLEST * mask.size
    keep[0] = False  # the background's label
    return np.asarray(keep[labels])
