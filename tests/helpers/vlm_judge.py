"""A judge: a local HTTP endpoint that answers as a language model would, and rewards that ask it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from advantageflow.errors import RewardError
from advantageflow.records import Prompt
from advantageflow.rewards.base import Reward
from advantageflow.rewards.plumbing.checks import score_images
from advantageflow.rewards.plumbing.registry import get_reward


@dataclass
class Judge:
    """A local endpoint. `reply` says what the request of this number (from 0) gets: a status and a body."""

    url: str = ""
    reply: Callable[[int, dict[str, Any]], tuple[int, str]] = lambda number, request: (200, completion(7))
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    active: int = 0
    most_active: int = 0
    lock: Any = field(default_factory=threading.Lock)


def completion(score: Any, reason: str = "it is red") -> str:
    return said(json.dumps({"reason": reason, "score": score}))


def said(text: str | None, **more: Any) -> str:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text, **more}}]})


def reward(judge: Judge, **options: Any) -> Reward:
    return get_reward("vlm", {"base_url": judge.url, "model": "judge-1", "backoff": 0.01, **options})


def scores(judge: Judge, count: int = 1, **options: Any) -> list[float]:
    prompts = [Prompt(f"picture {number}", "train", "t") for number in range(count)]
    images = [np.full((4, 4, 3), number, np.uint8) for number in range(count)]
    samples = [f"1-aa-{number}" for number in range(count)]
    return [values["score"] for values, _ in score_images(reward(judge, **options), prompts, images, samples)]


def failure(judge: Judge, count: int = 1, **options: Any) -> RewardError:
    with pytest.raises(RewardError) as caught:
        scores(judge, count, **options)
    return caught.value
