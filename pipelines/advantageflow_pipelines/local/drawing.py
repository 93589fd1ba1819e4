"""Pictures of texts, by a policy or by the base model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from advantageflow.records import ADAPTER_FOLDER
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

    from advantageflow.policy.divergence import check_finite
    from advantageflow.policy.generate import load_generator
    from advantageflow.policy.loading import load_family
    from advantageflow.policy.text import encode_prompts

    told = encode_prompts(model, [*texts, load_family(model).unconditional])
    with policy_artifact(policy, model) as artifact:
        generator = load_generator(model, artifact, ADAPTER_FOLDER, sampling.threads)
    pictures: list[Image.Image] = []
    for start in range(0, len(texts), sampling.batch):
        rows = range(start, min(start + sampling.batch, len(texts)))
        latents, images = generator.images(
            told.rows(rows),
            [seed + row for row in rows],
            steps=sampling.steps,
            sampler=sampling.sampler,
            shift=sampling.shift,
            guidance_scale=sampling.guidance_scale,
            unconditional=told.rows([len(texts)]),
        )
        check_finite(latents, [f"'{texts[row]}'" for row in rows])
        pictures += [Image.fromarray(image) for image in images]
    return pictures
