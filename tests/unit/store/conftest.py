"""Small artifacts that hold together."""

from __future__ import annotations

import pytest
import torch

from advantageflow.records import Prompt, Rollout, Score
from advantageflow.store.artifacts import Embeddings


@pytest.fixture
def prompts() -> list[Prompt]:
    return [
        Prompt("a red circle", "train", "colors", {"tag": "colors", "include": [{"class": "circle", "count": 1}]}),
        Prompt("ein grüner Würfel, 好", "eval", "colors", {}),
    ]


@pytest.fixture
def embeddings() -> Embeddings:
    return Embeddings(torch.arange(12.0).reshape(2, 2, 3), torch.ones(2, 4), torch.zeros(1, 2, 3), torch.zeros(1, 4))


@pytest.fixture
def rollouts(prompts: list[Prompt]) -> list[Rollout]:
    return [Rollout(prompts[0].prompt_id, 3, index, 2**63 - 1 - index, b"\x89PNG" + bytes([index])) for index in (0, 1)]


@pytest.fixture
def scores(rollouts: list[Rollout]) -> list[Score]:
    return [Score(r.rollout_id, {"strict": 1.0, "soft": 0.1 + r.index}, {"found": ["a"]}, "v1") for r in rollouts]
