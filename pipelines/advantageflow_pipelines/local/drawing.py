"""Pictures of texts, by a policy or by the base model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from advantageflow.settings import EvaluationSettings, ModelSettings
from advantageflow_pipelines.local.policies import policy_artifact

if TYPE_CHECKING:
    from PIL.Image import Image


def draw(
    model: ModelSettings, policy: Path | None, texts: Sequence[str], seed: int, sampling: EvaluationSettings
) -> list[Image]:
    """A picture of each text, in batches of `sampling.batch`; each one's noise has the next seed.

    Raises:
        PolicyError: the model or its policy cannot be loaded, or what they make is not finite.
    """
    from PIL import Image

    from advantageflow.policy.generate import draw_texts

    with policy_artifact(policy, model) as artifact:
        pictures = draw_texts(model, artifact, texts, [seed + row for row in range(len(texts))], sampling)
    return [Image.fromarray(picture) for picture in pictures]
