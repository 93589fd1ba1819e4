"""The GenEval reward: detector, colour classifier and rules put together."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from advantageflow.records import Prompt
from advantageflow.rewards.backbones.learned import LearnedReward
from advantageflow.rewards.backbones.pretrained import weights_hash
from advantageflow.rewards.base import Result
from advantageflow.rewards.geneval import networks
from advantageflow.rewards.geneval.scoring import LOWEST_SOFT, Detection, Found, colors_needed, score, select
from advantageflow.rewards.geneval.spec import CLASSES, check_spec
from advantageflow.rewards.plumbing.results import check_prompt, check_rgb


class GenEvalReward(LearnedReward):
    """GenEval: the right objects, counts, colours and positions, by Mask2Former and CLIP.

    Columns:
        correct: 0 or 1, by GenEval's own evaluation; what its tables report, as the mean of the six task means.
        strict: 0 or 1, exact counts; what RL code trains on, or on
        soft: the mean of how far each count, colour and position is met.

    Attributes:
        model: hub id, or local folder, of the detector: a Mask2Former of COCO instances.
        revision: its hub revision.
        clip: hub id, or local folder, of the colour classifier: a CLIP model with its tokenizer.
        clip_revision: its hub revision.
        sides: short and long side, pixels, that images are scaled to for the detector.
        peer_compatible: soft scores with the two faults of published RL code, for like-for-like comparisons only.
        device, dtype, batch: of both; see LearnedReward.
    """

    name = "geneval"
    headline: ClassVar[str] = "correct"

    model: str = networks.MODEL
    revision: str | None = None
    clip: str = networks.CLIP_MODEL
    clip_revision: str | None = None
    sides: tuple[int, int] = (networks.SHORT_SIDE, networks.LONG_SIDE)
    peer_compatible: bool = False

    @property
    def columns(self) -> Mapping[str, tuple[float, float]]:
        """Ranges; the soft score of the peers falls below 0."""
        soft = (LOWEST_SOFT, 1.0) if self.peer_compatible else (0.0, 1.0)
        return {"correct": (0.0, 1.0), "strict": (0.0, 1.0), "soft": soft}

    @property
    def unloaded_version(self) -> str:
        """What is known of the version before the weights are loaded; the detector's image sizes are part of it."""
        peers = ", peer-compatible" if self.peer_compatible else ""
        return f"{super().unloaded_version}, {'x'.join(map(str, self.sides))}{peers}"

    def check(self, prompt: Prompt) -> None:
        """Raises DataError, naming prompt and field, if the spec is not a GenEval spec of COCO classes."""
        check_prompt(prompt, check_spec)

    def score(self, prompts: Sequence[Prompt], images: Sequence[np.ndarray]) -> list[Result]:
        """Detects, classifies colours and scores; details hold the objects that count and the rules that failed."""
        for image in images:
            check_rgb(image)
        _ = self._weights  # taken before detector and classifier bring their weights to another precision
        detected = self._detector.detect(images)
        found = [select(one, prompt.spec["tag"]) for one, prompt in zip(detected, prompts, strict=True)]
        self._fill_in_colors(prompts, images, found)
        return [self._result(prompt, objects) for prompt, objects in zip(prompts, found, strict=True)]

    @cached_property
    def _weights(self) -> str:
        return weights_hash(self._detector.module, self._colors.module)

    @cached_property
    def _detector(self) -> networks.Detector:
        return networks.Detector(self.model, self.revision, self, self.sides)

    @cached_property
    def _colors(self) -> networks.ColorClassifier:
        return networks.ColorClassifier(self.clip, self.clip_revision, self)

    def _fill_in_colors(
        self, prompts: Sequence[Prompt], images: Sequence[np.ndarray], found: Sequence[dict[str, list[Detection]]]
    ) -> None:
        """Classify the objects of all images whose colour decides, and put their colours in place."""
        places = [
            (number, name, place)
            for number, (prompt, objects) in enumerate(zip(prompts, found, strict=True))
            for name, count in colors_needed(prompt.spec, objects).items()
            for place in range(count)
        ]
        cutouts = [networks.cut_out(images[number], found[number][name][place]) for number, name, place in places]
        if not cutouts:
            return
        named = self._colors.classify(cutouts, [name for _, name, _ in places])
        for (number, name, place), color in zip(places, named, strict=True):
            found[number][name][place] = replace(found[number][name][place], color=color)

    def _result(self, prompt: Prompt, found: Found) -> Result:
        verdict = score(prompt.spec, found, peer_compatible=self.peer_compatible)
        values = {"correct": verdict.correct, "strict": verdict.strict, "soft": verdict.soft}
        objects = [_describe(one) for of_class in found.values() for one in of_class]
        return values, {"found": objects, "failed": list(verdict.failed), "failed_strict": list(verdict.failed_strict)}


def _describe(detection: Detection) -> str:
    """Such as 'red fire hydrant 0.93 at 12,40,200,390' (left, top, right, bottom)."""
    box = ",".join(f"{side:.0f}" for side in detection.box)
    return f"{detection.color or ''} {CLASSES[detection.index]} {detection.score:.2f} at {box}".strip()
