"""Statistics of a round's rollouts: the number of shards leaves no trace."""

from __future__ import annotations

import numpy as np
import pytest

from advantageflow.watch.images import IMAGE_STATISTICS, diversity, image_statistics, thumbnail
from advantageflow.watch.rollouts import RolloutStatistics, join_summaries

IMAGES = [np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8) for seed in range(9)]
GROUPS = [f"prompt {number // 3}" for number in range(9)]


def shard(numbers: range) -> dict[str, dict[str, float]]:
    statistics = RolloutStatistics()
    for number in numbers:
        statistics.add(GROUPS[number], IMAGES[number])
    return statistics.summary()


def test_shards_of_any_size_join_to_the_means_over_all_images_and_groups() -> None:
    whole = join_summaries([shard(range(9))])
    assert join_summaries([shard(range(3)), shard(range(3, 9)), shard(range(0))]) == pytest.approx(whole)
    for name in IMAGE_STATISTICS:
        assert whole[name] == pytest.approx(np.mean([image_statistics(image)[name] for image in IMAGES]))
    groups = [[thumbnail(image) for image in IMAGES[start : start + 3]] for start in (0, 3, 6)]
    assert whole["diversity"] == pytest.approx(np.mean([diversity(group) for group in groups]))


def test_an_empty_shard_and_groups_of_one_have_nothing_to_say() -> None:
    assert shard(range(0)) == {}
    assert "diversity" not in shard(range(1))
    assert join_summaries([]) == {}
