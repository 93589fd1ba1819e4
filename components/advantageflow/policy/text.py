"""Text embeddings: every text encoder of a model in turn, alone in memory, over all texts.

A large encoder (T5-XXL: 9.5 GB in bfloat16) then fits a small GPU, and each is loaded once. The result is that of the
pipeline's own `encode_prompt`.
"""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from advantageflow.errors import PolicyError
from advantageflow.policy.families import Encoded, Family
from advantageflow.policy.loading import check_device, load_family
from advantageflow.policy.location import INDEX, part_location, read_file, unloadable
from advantageflow.settings import ModelSettings

_LONGEST = 1 << 16
_TEXTS_AT_ONCE = 256
_TOKENS_AT_ONCE = 4096  # bounds activations: 16 texts of 256 tokens

logger = logging.getLogger(__name__)


def encode_prompts(
    model: ModelSettings, texts: Sequence[str], progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[Tensor, Tensor]:
    """Text embeddings (N, L, D) and pooled ones (N, P), in model.dtype on the CPU.

    Args:
        model: whose encoders run.
        texts: at least one.
        progress: told how many texts are done, and how many there are, counting each text once for each encoder.

    Raises:
        PolicyError: the model's family is not supported; an encoder is missing or cannot be loaded.
    """
    check_device(model)
    family = load_family(model)
    parts = present_encoders(model, family)
    lengths = token_lengths(model, family, parts)
    encoded = {}
    for number, part in enumerate(parts):
        done = number * len(texts)
        encoded[part] = _encode_all(
            model, family, part, texts, lengths[part],
            lambda count, done=done: progress(done + count, len(parts) * len(texts)),  # type: ignore[misc]
        )  # fmt: skip
    config = read_file(model, "transformer/config.json")
    return family.join(encoded, config, model.max_sequence_length)


def present_encoders(model: ModelSettings, family: Family) -> list[str]:
    """The folders of the text encoders that the model has, in the family's order.

    Raises:
        PolicyError: one that the family needs is absent.
    """
    index = read_file(model, INDEX)
    present = [part for part in family.text_encoders if _class_name(index, part) is not None]
    for part in family.text_encoders:
        if part not in present and part not in family.optional:
            remedy = "give a complete model: its prompts cannot be encoded without this encoder"
            raise PolicyError(f"the model has no {part}", where=f"{model.name}: {INDEX}", remedy=remedy)
    return present


def token_lengths(model: ModelSettings, family: Family, parts: Sequence[str]) -> dict[str, int]:
    """Tokens that each encoder is given for a text: of T5 as the settings say, of CLIP as its first tokenizer says.

    Raises:
        PolicyError: the tokenizer cannot be loaded, or says nothing.
    """
    clip = int(load_tokenizer(model, "text_encoder").model_max_length)
    if clip > _LONGEST:  # what transformers says where it does not know
        remedy = "get the model again, with its tokenizer folder whole"
        raise PolicyError("its first tokenizer does not say how long a text may be", where=model.name, remedy=remedy)
    return {part: model.max_sequence_length if part == family.t5 else clip for part in parts}


def load_tokenizer(model: ModelSettings, encoder: str) -> Any:
    """The tokenizer that belongs to a text encoder's folder."""
    return _load(model, encoder.replace("text_encoder", "tokenizer"), {})


def load_encoder(model: ModelSettings, part: str) -> Any:
    """A text encoder, frozen, in model.dtype on model.device."""
    encoder = _load(model, part, {"dtype": getattr(torch, model.dtype)})
    return encoder.requires_grad_(False).eval().to(model.device)


def _load(model: ModelSettings, part: str, options: Mapping[str, Any]) -> Any:
    import transformers

    name = _class_name(read_file(model, INDEX), part)
    kind: Any = getattr(transformers, name or "", None)
    if not hasattr(kind, "from_pretrained"):
        remedy = "install the version of transformers that the model is made for, or get the model again"
        raise PolicyError(f"{part}: transformers has no class {name}", where=f"{model.name}: {INDEX}", remedy=remedy)
    place, where = part_location(model, part)
    try:
        return kind.from_pretrained(place, **where, **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise unloadable(model, f"the {part}", error) from error


def _class_name(index: Mapping[str, Any], part: str) -> str | None:
    """The transformers class of a part, or None where it is absent."""
    match index.get(part):
        case ["transformers", str(name)]:
            return name
    return None


def _encode_all(
    model: ModelSettings, family: Family, part: str, texts: Sequence[str], length: int, progress: Callable[[int], None]
) -> Encoded:
    """All texts by one encoder, which is gone from memory afterwards."""
    tokens = tokenize(load_tokenizer(model, part), part, texts, length)
    encoder = load_encoder(model, part)
    chunks, done = [], 0
    with torch.inference_mode():
        for chunk in tokens.split(max(1, min(_TEXTS_AT_ONCE, _TOKENS_AT_ONCE // length))):
            out = family.encode(part, encoder, chunk.to(model.device))
            chunks.append(Encoded(*(None if value is None else value.cpu() for value in out)))
            done += len(chunk)
            progress(done)
    alive = weakref.ref(encoder)
    del encoder
    if alive() is not None:  # in a reference cycle; looking for cycles costs most of a second, so not without need
        gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    whole = [None if values[0] is None else torch.cat(values) for values in zip(*chunks, strict=True)]
    return Encoded(*whole)


def tokenize(tokenizer: Any, part: str, texts: Sequence[str], length: int) -> Tensor:
    """Token ids (N, length), padded and cut; a warning says how many texts were cut."""
    whole = tokenizer(list(texts))["input_ids"]
    cut = [text for text, ids in zip(texts, whole, strict=True) if len(ids) > length]
    if cut:
        logger.warning(
            "%s reads the first %d tokens only: %d texts are cut, such as '%s'", part, length, len(cut), cut[0]
        )
    ids: Tensor = tokenizer(
        list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    ).input_ids
    return ids
