"""Pictures of texts by a policy: encoding, generating and checking in one call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advantageflow.policy.divergence import check_finite
from advantageflow.policy.generate import Generator, load_generator
from advantageflow.policy.loading import load_family
from advantageflow.policy.text import encode_prompts
from advantageflow.records import ADAPTER_FOLDER
from advantageflow.settings import EvaluationSettings, ModelSettings


def draw_texts(
    model: ModelSettings,
    policy: Path | None,
    texts: Sequence[str],
    seeds: Sequence[int],
    sampling: EvaluationSettings,
    generator: Generator | None = None,
) -> NDArray[np.uint8]:
    """A picture for each text.

    Args:
        model: the base model.
        policy: a policy artifact; None for the base model.
        texts: at least one.
        seeds: of each picture's initial noise.
        sampling: how pictures are made, `batch` of them at a time.
        generator: of this model and policy, loaded before; loaded here if None.

    Returns:
        Pictures (N, H, W, 3).

    Raises:
        PolicyError: the model or its policy cannot be loaded, or what they make is not finite.
    """
    encoded = encode_prompts(model, [*texts, load_family(model).unconditional])
    generator = generator or load_generator(model, policy, ADAPTER_FOLDER, sampling.threads)
    options: dict[str, Any] = {name: getattr(sampling, name) for name in ("steps", "sampler", "shift")}
    pictures = []
    for start in range(0, len(texts), sampling.batch):
        rows = range(start, min(start + sampling.batch, len(texts)))
        latents, images = generator.images(
            encoded.rows(list(rows)),
            [seeds[row] for row in rows],
            guidance_scale=sampling.guidance_scale,
            unconditional=encoded.rows([len(texts)]),
            **options,
        )
        check_finite(latents, [f"'{texts[row]}'" for row in rows])
        pictures.append(images)
    return np.concatenate(pictures)
