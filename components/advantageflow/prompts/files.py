"""Prompt files of every format, read whole: what is repeated is dropped, what contradicts itself is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from advantageflow.errors import DataError
from advantageflow.prompts.parsing import HELD_OUT_SHARE, nearest_field, parse_record, unknown_fields
from advantageflow.prompts.readers import READERS
from advantageflow.records import Prompt

WITHOUT_FILE = ("shapes", "shapes-hard", "geneval", "ocr")  # sources that need no file: embedded or generated
_SHOWN = 8  # names in a message

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LocatedPrompt:
    """A prompt and where it was read, for errors: `file:line` or `file: row n`."""

    prompt: Prompt
    where: str


def read_file(
    path: Path,
    shown: str | None = None,
    columns: Mapping[str, str] | None = None,
    warn: Callable[[str], None] = logger.warning,
) -> list[LocatedPrompt]:
    """Read a file of prompts.

    A line of .txt is a prompt. A record of the others has `text` (or `prompt`); optionally `split` ('train', or 'eval',
    'val', 'validation', 'test'), `task` (or `tag`), and `spec`: for the reward. All other fields, such as GenEval's
    `include` and `exclude`, become part of the spec; without `spec`, `tag` does too. In .txt, .jsonl, .csv and .tsv a
    line that begins with # is a comment.

    Where a record says no split, it is held out if `derive_seed("split", text)` is a multiple of 10: the text alone
    decides, so that a prompt stays on its side whatever is added to the file.

    Args:
        path: the file.
        shown: what to call it in errors, where the path is that of a copy.
        columns: what the file calls text, split, task and spec, where it has other names for them.
        warn: is told what a person should know: repeats that were dropped, fields that nothing here knows.

    Raises:
        DataError: the file cannot be read or is empty, a record is invalid, two say different things of one text; names
            the line.
    """
    shown = shown or str(path)
    if path.suffix not in READERS:
        *most, last = READERS
        remedy = f"give {', '.join(map(repr, WITHOUT_FILE))}, or a file that ends in {', '.join(most)} or {last}"
        raise DataError("is not a source of prompts", where=f"prompts.source {shown}", remedy=remedy)
    located: dict[str, LocatedPrompt] = {}
    repeats, without_split = 0, 0
    unknown: dict[str, None] = {}  # in order
    try:
        for record, where in READERS[path.suffix](path, shown):
            prompt = parse_record(record, where, columns or {})
            first = located.setdefault(prompt.text, LocatedPrompt(prompt, where))
            if first.prompt != prompt:
                raise _conflict(first, prompt, where)
            repeats += first.where != where
            without_split += first.where == where and record.get((columns or {}).get("split", "split")) is None
            unknown |= dict.fromkeys(sorted(unknown_fields(record, columns or {})))
    except OSError as error:
        message = f"cannot be read: {error.strerror or error}"
        raise DataError(message, where=shown, remedy="check prompts.source and the file") from error
    if not located:
        remedy = 'put in one prompt a line, such as {"text": "a red circle", "split": "train"}'
        raise DataError("holds no prompts", where=shown, remedy=remedy)
    if repeats:
        warn(f"{shown}: {repeats} of {repeats + len(located)} prompts repeat an earlier one and were dropped")
    if unknown:
        warn(f"{shown}: {_unknown(list(unknown))}")
    if without_split:
        logger.info(
            "%s: %d of %d prompts say no split; one in %d of them is held out, by a hash of its text",
            shown, without_split, len(located), HELD_OUT_SHARE,
        )  # fmt: skip
    return list(located.values())


def _conflict(first: LocatedPrompt, prompt: Prompt, where: str) -> DataError:
    differing = [name for name in ("split", "task", "spec") if getattr(first.prompt, name) != getattr(prompt, name)]
    message = f"'{prompt.text}' has another {' and '.join(differing)} than at {first.where}"
    return DataError(message, where=where, remedy="remove one of the two, or make them agree")


def _unknown(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" + (f" (did you mean '{near}'?)" if (near := nearest_field(name)) else "")
                      for name in names[:_SHOWN])  # fmt: skip
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"fields that only the reward may know, kept in each prompt's spec: {shown}{more}"
