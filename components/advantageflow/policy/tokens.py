"""Texts as token ids, padded and cut to a length."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from torch import Tensor

logger = logging.getLogger(__name__)

Tokens = dict[str, Tensor]
"""`input_ids` and, where padding must be told apart, `attention_mask`: (texts, length)."""


def tokenize(
    tokenizer: Any,
    part: str,
    texts: Sequence[str],
    length: int,
    *,
    to_longest: bool = False,
    mask: bool = False,
    shown: Sequence[str] | None = None,
) -> Tokens:
    """Token ids of all texts, padded on the right; a warning says how many texts were cut.

    Args:
        tokenizer: of transformers.
        part: of the text encoder that reads the tokens, for the warning.
        texts: at least one.
        length: tokens of each.
        to_longest: pad to the longest of the texts only.
        mask: also give the attention mask.
        shown: what to call the texts in the warning, where they are in a frame.
    """
    counts = [len(ids) for ids in tokenizer(list(texts))["input_ids"]]
    cut = [text for text, count in zip(shown or texts, counts, strict=True) if count > length]
    if cut:
        logger.warning(
            "%s reads the first %d tokens only: %d texts are cut, such as '%s'", part, length, len(cut), cut[0]
        )
    told = tokenizer(
        list(texts), padding="max_length", max_length=min(length, max(counts)) if to_longest else length,
        truncation=True, padding_side="right", return_tensors="pt",
    )  # fmt: skip
    return {"input_ids": told.input_ids} | ({"attention_mask": told.attention_mask} if mask else {})
