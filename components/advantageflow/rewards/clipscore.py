"""CLIPScore: how well an image fits its prompt, by OpenAI's CLIP."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

from advantageflow.rewards.backbones.learned import ClipReward

DIVISOR = 100.0


class ClipScoreReward(ClipReward):
    """CLIPScore (text alignment): the cosine of image and prompt by CLIP ViT-L/14.

    `score` is a pair's logits_per_image of transformers' CLIPModel divided by 100. As CLIP's scale is 100, this is the
    cosine, around 0.2 to 0.35; papers often show it times 100. It is neither clipped at 0 nor multiplied by 2.5 as in
    Hessel et al. (arXiv 2104.08718), who use ViT-B/32. Images go through the processor's own steps (shorter side to 224
    by bicubic interpolation, centre crop). Prompts of more than 77 tokens are cut, as in the original; details say by
    how many tokens.

    Attributes:
        model: hub id or folder of a CLIPModel with its tokenizer and image processor.
        revision: branch, tag or commit on the hub.
        device, batch, dtype: see LearnedReward.
    """

    name = "clipscore"
    columns: ClassVar[Mapping[str, tuple[float, float]]] = {"score": (-1.0, 1.0)}

    model: str = "openai/clip-vit-large-patch14"
    revision: str | None = None

    @cached_property
    def _parts(self) -> tuple[Any, ...]:
        from advantageflow.rewards.backbones.clip import load_clip_parts

        return load_clip_parts(self, self.model, self.revision, divisor=DIVISOR)
