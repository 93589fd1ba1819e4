"""ImageReward: how much people would prefer an image for a prompt, by BLIP tuned on their rankings."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from advantageflow.records import Prompt
from advantageflow.rewards.backbones.learned import LearnedReward
from advantageflow.rewards.backbones.pixels import centre_square
from advantageflow.rewards.backbones.pretrained import find_file, load_processor, read_tensors, weights_hash
from advantageflow.rewards.base import Result

FILES = ("ImageReward.safetensors", "ImageReward.pt")
TOKENS = 35
_BLIP_TOKENS = ["[DEC]", "[ENC]"]  # BLIP's additions to BERT's vocabulary; they matter only to prompts that hold them


class ImageRewardReward(LearnedReward):
    """ImageReward v1.0 (human preference): BLIP's view of image and prompt through a head, standardised.

    Follows ImageReward.score of THUDM/ImageReward (package image-reward 1.5, Xu et al., arXiv 2304.05977), each image
    with its own prompt, on transformers' BLIP: shorter side to 224 by bicubic interpolation and centre crop, then
    (raw - 0.1672) / 1.0333. Published scores lie within about -2.3 to 2; nothing in the formula ends there, so the
    declared range is wider. Prompts of more than 35 tokens are cut, as in the original; details say by how many
    tokens.

    Attributes:
        model: hub id, folder or file of the checkpoint: .safetensors, or the published .pt, read by
            torch.load(weights_only=True).
        tokenizer: hub id or folder of BERT's tokenizer.
        revision: branch, tag or commit of the checkpoint on the hub.
        device, batch, dtype: see LearnedReward; the head always computes in float32.
    """

    name = "imagereward"
    columns: ClassVar[Mapping[str, tuple[float, float]]] = {"score": (-10.0, 10.0)}

    model: str = "THUDM/ImageReward"
    tokenizer: str = "google-bert/bert-base-uncased"
    revision: str | None = None

    def score(self, prompts: Sequence[Prompt], images: Sequence[np.ndarray]) -> list[Result]:
        """Score each image with its prompt; details hold the number of tokens cut off the prompt."""
        from advantageflow.rewards.backbones.clip import tokens_cut

        if not images:
            return []
        _, tokenizer, _ = self._parts
        texts = [prompt.text for prompt in prompts]
        cut = tokens_cut(tokenizer, texts, TOKENS)
        pairs = list(zip(texts, images, strict=True))
        values = [value for some in self.batches(pairs) for value in self._scores(some)]
        return [({"score": value}, {"tokens_cut": tokens}) for value, tokens in zip(values, cut, strict=True)]

    def _scores(self, pairs: Sequence[tuple[str, np.ndarray]]) -> list[float]:
        import torch

        from advantageflow.rewards.backbones.clip import tokenize

        model, tokenizer, _ = self._parts
        texts, images = zip(*pairs, strict=True)
        pixels = centre_square(images, model.vision.config.image_size)
        tokens = tokenize(tokenizer, texts, TOKENS).to(self.device)
        with torch.inference_mode():
            inputs = pixels.to(self.device, getattr(torch, self.dtype))
            values: list[float] = model(inputs, tokens["input_ids"], tokens["attention_mask"]).tolist()
        return values

    @cached_property
    def _parts(self) -> tuple[Any, Any, str]:
        """The network, the tokenizer, and the hash of the weights."""
        from transformers import BertTokenizer

        from advantageflow.rewards.backbones.clip import check_vocabulary
        from advantageflow.rewards.backbones.image_reward import load_image_reward

        where = self.where("model")
        tokenizer = load_processor(BertTokenizer, self.tokenizer, where=self.where("tokenizer"))
        tokenizer.add_tokens(_BLIP_TOKENS, special_tokens=True)
        path = find_file(self.model, FILES, where=where, revision=self.revision)
        model = load_image_reward(read_tensors(path, where=where), where=f"{where}, {path}")
        check_vocabulary(tokenizer, model.text.config, self)
        weights = weights_hash(model)
        for part in (model.vision, model.text):
            self.place(part)
        self.place(model.head, dtype="float32")
        return model, tokenizer, weights
