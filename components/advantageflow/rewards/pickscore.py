"""PickScore: how much people would prefer an image for a prompt, by a CLIP model tuned on their choices."""

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

DIVISOR = 26.0


class PickScoreReward(LearnedReward):
    """PickScore v1 (human preference): CLIP-H's scaled cosine, divided by 26 as in Flow-GRPO.

    `score` times 26 is the score of yuvalkirstain/PickScore (Kirstain et al., arXiv 2305.01569), exp(logit_scale) times
    the cosine, around 20 to 23 for good images; the division, which brings it near 0..1, is that of
    flow_grpo/pickscore_scorer.py. Images go through the processor's own steps (shorter side to 224 by bicubic
    interpolation, centre crop). Prompts of more than 77 tokens are cut, as in the original; details say by how many
    tokens.

    Args:
        model: hub id or folder of a CLIPModel.
        processor: hub id or folder of its tokenizer and image processor.
        revision: branch, tag or commit of the model on the hub.
        device, batch, dtype: see Execution.

    Raises:
        SettingsError: an option has a value that it cannot have.
    """

    name = "pickscore"
    columns: ClassVar[Mapping[str, tuple[float, float]]] = {"score": (-4.0, 4.0)}  # CLIP caps its scale at 100

    def __init__(
        self,
        *,
        model: str = "yuvalkirstain/PickScore_v1",
        processor: str = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
        revision: str | None = None,
        device: Device = "cpu",
        batch: int = 16,
        dtype: Dtype = "float32",
    ) -> None:
        super().__init__(device=device, batch=batch, dtype=dtype)
        self._model, self._processor, self._revision = model, processor, revision

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
        tokenizer = load_clip_tokenizer(self._processor, self._execution, option="processor")
        pixels = load_clip_pixels(self._processor, self._execution, option="processor")
        return ClipPairs.of(model, tokenizer, pixels, self._execution)
