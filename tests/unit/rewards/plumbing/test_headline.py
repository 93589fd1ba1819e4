"""Reports are headed by the accuracy that a reward's field compares models by."""

from __future__ import annotations

import pytest

from advantageflow.rewards.base import headline_column
from advantageflow.rewards.plumbing.registry import get_reward


@pytest.mark.parametrize(
    ("reward", "trained", "headline"),
    [
        ("geneval", "soft", "correct"),
        ("geneval", "strict", "correct"),
        ("shapes", "soft", "strict"),
        ("jpeg", "incompressibility", "incompressibility"),
    ],
)
def test_the_headline_is_what_the_reward_names_or_strict_or_what_is_trained(
    reward: str, trained: str, headline: str
) -> None:
    assert headline_column(get_reward(reward), trained) == headline
