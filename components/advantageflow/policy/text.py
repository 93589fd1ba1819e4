"""Texts as a model is told them: every text encoder of a model in turn, alone in memory, over all texts.

A large encoder (T5-XXL: 9.5 GB in bfloat16) then fits a small GPU, and each is loaded once. The result is that of the
pipeline's own `encode_prompt`.
"""

import gc
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from advantageflow.errors import PolicyError
from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.families import Configs, Family
from advantageflow.policy.families.parts import Tokens
from advantageflow.policy.loading import check_device, load_family, read_configs
from advantageflow.policy.location import INDEX, encoder_class, part_location, read_file, unloadable
from advantageflow.settings import ModelSettings

MOST_TEXTS = 256  # that an encoder is given at once
MOST_TOKENS = 4096  # bounds activations: 16 texts of 256 tokens


@dataclass(frozen=True)
class EncodedTexts:
    """What a model's text encoders gave for texts; `rows` makes of it what the transformer is told."""

    family: Family
    configs: Configs
    limit: int  # tokens that the settings allow
    encoded: Mapping[str, Mapping[str, Tensor]]  # by encoder and name: a row for each text, in model.dtype on the CPU

    def rows(self, rows: Sequence[int] | slice) -> Conditioning:
        """The conditioning of the texts with these numbers, in this order."""
        chosen = {part: {name: tensor[rows] for name, tensor in one.items()} for part, one in self.encoded.items()}
        return self.family.condition(chosen, self.configs, self.limit)


def encode_prompts(model: ModelSettings, texts: Sequence[str]) -> Conditioning:
    """What conditions the model for each text, in model.dtype on the CPU; as `encode_texts`."""
    return encode_texts(model, texts).rows(slice(None))


def encode_texts(
    model: ModelSettings, texts: Sequence[str], progress: Callable[[int, int], None] = lambda done, total: None
) -> EncodedTexts:
    """Run the text encoders on texts, of which there is one at least.
    Raises PolicyError: the model's family is not supported; an encoder is missing or cannot be loaded.

    Args:
        progress: told how many texts are done, and how many there are, counting each text once for each encoder.
    """
    check_device(model)
    family = load_family(model)
    parts = present_encoders(model, family)
    configs = read_configs(model, ["transformer", *parts])
    encoded = {}
    for number, part in enumerate(parts):
        length = family.token_limit(part, configs, model.max_sequence_length)
        tokens = family.tokenize(part, load_tokenizer(model, part), texts, length)
        chunks = []
        for done, chunk in _encode_all(model, family, part, tokens):
            chunks.append(chunk)
            progress(number * len(texts) + done, len(parts) * len(texts))
        encoded[part] = {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}
    return EncodedTexts(family, configs, model.max_sequence_length, encoded)


def present_encoders(model: ModelSettings, family: Family) -> list[str]:
    """The folders of the text encoders that the model has, in the family's order.
    Raises PolicyError: one that the family needs is absent.
    """
    index = read_file(model, INDEX)
    present = [part for part in family.text_encoders if encoder_class(index, part) is not None]
    for part in family.text_encoders:
        if part not in present and part not in family.optional:
            remedy = "give a complete model: its prompts cannot be encoded without this encoder"
            raise PolicyError(f"the model has no {part}", where=f"{model.name}: {INDEX}", remedy=remedy)
    return present


def load_tokenizer(model: ModelSettings, encoder: str) -> Any:
    """The tokenizer that belongs to a text encoder's folder."""
    return _load(model, encoder.replace("text_encoder", "tokenizer"), {})


def load_encoder(model: ModelSettings, part: str) -> Any:
    """A text encoder, frozen, in model.dtype on model.device."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # of reading weights from a disk
    encoder = _load(model, part, {"dtype": getattr(torch, model.dtype)})
    return encoder.requires_grad_(False).eval().to(model.device)


def batch_size(length: int) -> int:
    """How many texts of so many tokens an encoder is given at once."""
    return max(1, min(MOST_TEXTS, MOST_TOKENS // length))


def import_encoders(model: ModelSettings, family: Family) -> None:
    """Import the classes of the model's text encoders, which takes seconds, before the work is timed."""
    for part in present_encoders(model, family):
        _class_of(model, part)


def _load(model: ModelSettings, part: str, options: Mapping[str, Any]) -> Any:
    kind = _class_of(model, part)
    place, where = part_location(model, part)
    try:
        return kind.from_pretrained(place, **where, **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise unloadable(model, f"the {part}", error) from error


def _class_of(model: ModelSettings, part: str) -> Any:
    import transformers

    name = encoder_class(read_file(model, INDEX), part)
    kind: Any = getattr(transformers, name or "", None)
    if not hasattr(kind, "from_pretrained"):
        remedy = "install the version of transformers that the model is made for, or get the model again"
        raise PolicyError(f"{part}: transformers has no class {name}", where=f"{model.name}: {INDEX}", remedy=remedy)
    return kind


def _encode_all(
    model: ModelSettings, family: Family, part: str, tokens: Tokens
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """All texts by one encoder, some at once, and how many are done; it is gone from memory afterwards."""
    encoder = load_encoder(model, part)
    count, length = tokens["input_ids"].shape
    for start in range(0, count, batch_size(length)):
        some = slice(start, min(start + batch_size(length), count))
        with torch.inference_mode():
            out = family.encode(part, encoder, {name: rows[some].to(model.device) for name, rows in tokens.items()})
        yield some.stop, {name: value.cpu() for name, value in out.items()}
    alive = weakref.ref(encoder)
    del encoder
    if alive() is not None:  # in a reference cycle; looking for cycles costs most of a second, so not without need
        gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
