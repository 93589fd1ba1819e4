"""CLIPScore: how well an image fits its prompt, by OpenAI's CLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from advantageflow.records import Prompt
from advantageflow.rewards.backbones.execution import Device, Dtype
from advantageflow.rewards.backbones.reward import LearnedReward
from advantageflow.rewards.base import Result

if TYPE_CHECKING:
    import numpy as np

    from advantageflow.rewards.backbones.clip import ClipPairs

DIVISOR = 100.0


class ClipScoreReward(LearnedReward):
    """CLIPScore (text alignment): the cosine of image and prompt by CLIP ViT-L/14.

    `score` is a pair's logits_per_image of transformers' CLIPModel divided by 100. As CLIP's scale is 100, this is the
    cosine, around 0.2 to 0.35; papers often show it times 100. It is neither clipped at 0 nor multiplied by 2.5 as in
    Hessel et al. (arXiv 2104.08718), who use ViT-B/32. Images go through the processor's own steps (shorter side to 224
    by bicubic interpolation, centre crop). Prompts of more than 77 tokens are cut, as in the original; details say by
    how many tokens.

    Args:
        model: hub id or folder of a CLIPModel with its tokenizer and image processor.
        revision: branch, tag or commit on the hub.
        device, batch, dtype: see Execution.

    Raises:
        SettingsError: an option has a value that it cannot have.
    """

    name = "clipscore"
    columns: ClassVar[Mapping[str, tuple[float, float]]] = {"score": (-1.0, 1.0)}

    def __init__(
        self,
        *,
        model: str = "openai/clip-vit-large-patch14",
        revision: str | None = None,
        device: Device = "cpu",
        batch: int = 16,
        dtype: Dtype = "float32",
    ) -> None:
        super().__init__(device=device, batch=batch, dtype=dtype)
        self._model, self._revision = model, revision

    def score(self, prompts: Sequence[Prompt], images: Sequence[np.ndarray]) -> list[Result]:
        """Score each image against its prompt; details hold the number of tokens cut off the prompt.

        Raises:
            RewardError: the model cannot be loaded, or the GPU asked for is not there.
        """
        return self._clip.scores([prompt.text for prompt in prompts], images, self._clip.scale / DIVISOR)

    @property
    def _weights(self) -> str:
        return self._clip.weights

    @cached_property
    def _clip(self) -> ClipPairs:
        from advantageflow.rewards.backbones.clip import ClipPairs, load_clip, load_clip_pixels, load_clip_tokenizer

        model = load_clip(self._model, self._execution, revision=self._revision)
        tokenizer = load_clip_tokenizer(self._model, self._execution, revision=self._revision)
        pixels = load_clip_pixels(self._model, self._execution, revision=self._revision)
        return ClipPairs.of(model, tokenizer, pixels, self._execution)
