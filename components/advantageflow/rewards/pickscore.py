"""PickScore: how much people would prefer an image for a prompt, by a CLIP model tuned on their choices."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

from advantageflow.rewards.backbones.learned import ClipReward

DIVISOR = 26.0


class PickScoreReward(ClipReward):
    """PickScore v1 (human preference): CLIP-H's scaled cosine, divided by 26 as in Flow-GRPO.

    `score` times 26 is the score of yuvalkirstain/PickScore (Kirstain et al., arXiv 2305.01569), exp(logit_scale) times
    the cosine, around 20 to 23 for good images; the division, which brings it near 0..1, is that of
    flow_grpo/pickscore_scorer.py. Images go through the processor's own steps (shorter side to 224 by bicubic
    interpolation, centre crop). Prompts of more than 77 tokens are cut, as in the original; details say by how many
    tokens.

    Attributes:
        model: hub id or folder of a CLIPModel.
        processor: hub id or folder of its tokenizer and image processor.
        revision: branch, tag or commit of the model on the hub.
        device, batch, dtype: see LearnedReward.
    """

    name = "pickscore"
    columns: ClassVar[Mapping[str, tuple[float, float]]] = {"score": (-4.0, 4.0)}  # CLIP caps its scale at 100

    model: str = "yuvalkirstain/PickScore_v1"
    processor: str = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
    revision: str | None = None

    @cached_property
    def _parts(self) -> tuple[Any, ...]:
        from advantageflow.rewards.backbones.clip import load_clip_parts

        return load_clip_parts(self, self.model, self.revision, processor=self.processor, divisor=DIVISOR)
