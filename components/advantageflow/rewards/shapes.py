"""The embedded world's reward: GenEval's rules on a rule-based detector; needs neither torch nor diffusers."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from advantageflow.records import Prompt
from advantageflow.rewards.base import Result
from advantageflow.rewards.plumbing.results import check_prompt


class ShapesReward:
    """GenEval in miniature: right objects, counts, colours and positions, strict (0 or 1) and soft."""

    name = "shapes"
    version = "1"
    columns: ClassVar[Mapping[str, tuple[float, float]]] = {"strict": (0.0, 1.0), "soft": (0.0, 1.0)}
    higher_is_better = True

    def check(self, prompt: Prompt) -> None:
        """Raises DataError, naming prompt and field, if the spec is not a GenEval spec of shapes."""
        from advantageflow.shapes.detector import check_spec

        check_prompt(prompt, check_spec)

    def score(self, prompts: Sequence[Prompt], images: Sequence[np.ndarray]) -> list[Result]:
        """Detects and scores; details hold the objects found and the rules that failed."""
        from advantageflow.shapes.detector import detect, score

        results: list[Result] = []
        for prompt, image in zip(prompts, images, strict=True):
            detections = detect(image)
            verdict = score(prompt.spec, detections)
            found = [f"{d.color or 'unknown'} {d.shape or 'blob'}" for d in detections]
            values = {"strict": verdict.strict, "soft": verdict.soft}
            results.append((values, {"found": found, "failed": list(verdict.reasons)}))
        return results
