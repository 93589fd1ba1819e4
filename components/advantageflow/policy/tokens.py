"""Texts as token ids, padded and cut to a length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from advantageflow.tracking.journal import current_journal

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
    """Token ids of all texts, padded on the right; the journal is told how many texts were cut.

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
        shortest = min(cut, key=len)
        such = shortest if len(shortest) <= 80 else f"{shortest[:77]}..."
        whole = f"{len(cut)} of {len(texts)} texts are cut, such as '{such}'"
        current_journal().warning(f"{part} reads the first {length} tokens of a text only: {whole}")
    told = tokenizer(
        list(texts), padding="max_length", max_length=min(length, max(counts)) if to_longest else length,
        truncation=True, padding_side="right", return_tensors="pt",
    )  # fmt: skip
    return {"input_ids": told.input_ids} | ({"attention_mask": told.attention_mask} if mask else {})
