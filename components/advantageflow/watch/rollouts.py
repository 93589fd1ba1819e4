"""Image statistics of a round's rollouts: summed up by shard, and joined from all shards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from advantageflow.watch.images import IMAGE_STATISTICS, diversity, image_statistics, thumbnail

if TYPE_CHECKING:
    from advantageflow.watch.images import Image


@dataclass
class RolloutStatistics:
    """Takes in the images of a shard, and sums up.

    Attributes:
        images: statistics of each image.
        groups: thumbnails by prompt.
    """

    images: list[dict[str, float]] = field(default_factory=list)
    groups: dict[str, list[Image]] = field(default_factory=dict)

    def add(self, prompt_id: str, image: Image) -> None:
        """Take in one image (H, W, 3), uint8."""
        self.images.append(image_statistics(image))
        self.groups.setdefault(prompt_id, []).append(thumbnail(image))

    def summary(self) -> dict[str, dict[str, float]]:
        """By statistic its 'mean' and 'of' how many: images, or groups for the diversity within a group."""
        values = {name: [image[name] for image in self.images] for name in IMAGE_STATISTICS if self.images}
        apart = [diversity(images) for images in self.groups.values() if len(images) > 1]
        values |= {"diversity": apart} if apart else {}
        return {name: {"mean": sum(of_one) / len(of_one), "of": len(of_one)} for name, of_one in values.items()}


def join_summaries(shards: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Means over the whole round of what RolloutStatistics.summary gave for its shards."""
    sums: dict[str, tuple[float, float]] = {}
    for shard in shards:
        for name, one in shard.items():
            total, count = sums.get(name, (0.0, 0.0))
            sums[name] = (total + one["mean"] * one["of"], count + one["of"])
    return {name: total / count for name, (total, count) in sums.items()}
