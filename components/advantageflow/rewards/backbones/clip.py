"""CLIP's view of images and prompts: unit embeddings in batches, and the cosines of pairs."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from advantageflow.annotations import LearnedReward
from advantageflow.errors import RewardError
from advantageflow.rewards.backbones.pixels import processed
from advantageflow.rewards.backbones.pretrained import load_model, load_processor, weights_hash
from advantageflow.rewards.base import Result

Pixels = Callable[[Sequence[NDArray[np.uint8]]], torch.Tensor]


def clip_parts(
    reward: LearnedReward, model: Any, tokenizer: Any, pixels: Pixels, divisor: float | None = None
) -> tuple[Any, Any, Pixels, float, str]:
    """What `clip_scores` compares images with their prompts by, and last the hash of the weights.
    Raises RewardError: the tokenizer has more tokens than the model, or a GPU is asked for and there is none.

    Args:
        reward: whose it is; says where and how it computes.
        model: a CLIPModel of transformers in float32.
        pixels: images (H, W, 3), uint8, as the model's input (N, 3, side, side), float32.
        divisor: scores are exp(logit_scale) / divisor times the cosine; None: they are the cosine.
    """
    check_vocabulary(tokenizer, model.config.text_config, reward)
    factor = 1.0 if divisor is None else model.logit_scale.detach().exp().item() / divisor
    weights = weights_hash(model)
    return reward.place(model), tokenizer, pixels, factor, weights


def load_clip_parts(
    reward: LearnedReward, model: str, revision: str | None, *, divisor: float, processor: str | None = None
) -> tuple[Any, Any, Pixels, float, str]:
    """The `clip_parts` of a CLIPModel with its tokenizer and image processor, by folder or hub id.
    Raises RewardError: one of them cannot be loaded.

    Args:
        reward: whose it is; names these by its options `model` and `processor`.
        model: the model, at this `revision` of the hub.
        processor: of the tokenizer and image processor, where they are not the model's.
    """
    from transformers import CLIPModel, CLIPTokenizer

    where = reward.where("model")
    loaded = load_model(CLIPModel, model, where=where, revision=revision)
    if processor is not None:
        where, model, revision = reward.where("processor"), processor, None
    tokenizer = load_processor(CLIPTokenizer, model, where=where, revision=revision)
    return clip_parts(reward, loaded, tokenizer, load_clip_pixels(model, where=where, revision=revision), divisor)


def clip_scores(
    reward: LearnedReward, parts: tuple[Any, Any, Pixels, float, str], texts: Sequence[str],
    images: Sequence[NDArray[np.uint8]],
) -> list[Result]:  # fmt: skip
    """For each pair its cosine times the factor, as 'score'; details hold the number of tokens cut off."""
    model, tokenizer, pixels, factor, _ = parts
    distinct = list(dict.fromkeys(texts))
    row = {text: number for number, text in enumerate(distinct)}
    embedded = text_embeddings(model, tokenizer, distinct, reward)
    cut = tokens_cut(tokenizer, distinct, text_limit(model))
    rows = [row[text] for text in texts]
    products = (embedded[rows] * image_embeddings(model, pixels, images, reward)).sum(dim=-1)
    cosines = products.clamp(-1, 1).tolist()  # rounding may take one beyond 1
    return [({"score": factor * one}, {"tokens_cut": cut[number]}) for one, number in zip(cosines, rows, strict=True)]


def load_clip_pixels(name: str, *, where: str, revision: str | None = None) -> Pixels:
    """CLIP's image processor on Pillow, from a folder or hub id; raises RewardError."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    return partial(processed, load_processor(CLIPImageProcessorPil, name, where=where, revision=revision))


@torch.inference_mode()
def image_embeddings(model: Any, pixels: Pixels, images: Sequence[np.ndarray], reward: LearnedReward) -> torch.Tensor:
    """Unit embeddings (N, D) of images by a CLIPModel, float32."""
    rows = []
    for batch in reward.batches(images):
        inputs = pixels(batch).to(reward.device, getattr(torch, reward.dtype))
        rows.append(_unit(model.get_image_features(pixel_values=inputs)))
    return torch.cat(rows)


@torch.inference_mode()
def text_embeddings(model: Any, tokenizer: Any, texts: Sequence[str], reward: LearnedReward) -> torch.Tensor:
    """Unit embeddings (N, D) of texts by a CLIPModel, float32.

    Padded to full length, so that no text depends on its neighbours'.
    """
    rows = []
    for batch in reward.batches(texts):
        tokens = tokenize(tokenizer, batch, text_limit(model)).to(reward.device)
        rows.append(_unit(model.get_text_features(tokens["input_ids"], attention_mask=tokens["attention_mask"])))
    return torch.cat(rows)


def text_limit(model: Any) -> int:
    """How many tokens a CLIPModel reads of a text."""
    return int(model.config.text_config.max_position_embeddings)


def tokenize(tokenizer: Any, texts: Sequence[str], limit: int) -> Any:
    """Input ids and attention mask (N, limit); what is longer is cut, its last token the end of text."""
    return tokenizer(list(texts), padding="max_length", truncation=True, max_length=limit, return_tensors="pt")


def tokens_cut(tokenizer: Any, texts: Sequence[str], limit: int) -> list[int]:
    """How many tokens of each text are beyond the limit."""
    return [max(0, len(ids) - limit) for ids in tokenizer(list(texts), verbose=False)["input_ids"]]


def check_vocabulary(tokenizer: Any, config: Any, reward: LearnedReward) -> None:
    """Raises RewardError if the tokenizer has tokens that the text encoder does not know: it is another model's."""
    if len(tokenizer) > config.vocab_size:
        message = f"the tokenizer has {len(tokenizer)} tokens, the text encoder only {config.vocab_size}"
        remedy = "give the tokenizer that the model was trained with"
        raise RewardError(message, where=f"reward '{reward.name}'", remedy=remedy)


def _unit(features: Any) -> torch.Tensor:
    """From transformers 5 on, features come as an output object whose pooler_output is the projected embedding."""
    return normalize(getattr(features, "pooler_output", features).float(), dim=-1)
