"""Prompt files: .txt (one prompt a line), .jsonl and .parquet (ours or GenEval's), with errors that name the line."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from advantageflow.errors import DataError
from advantageflow.records import Prompt, derive_seed
from advantageflow.suggestions import did_you_mean

WITHOUT_FILE = ("shapes", "shapes-hard", "geneval", "ocr")  # sources that need no file: embedded or generated
HELD_OUT_SHARE = 10  # one prompt in this many is held out where the file does not say
_FIELDS = ("text", "prompt", "split", "task", "tag", "spec")
_GENEVAL_FIELDS = ("include", "exclude")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LocatedPrompt:
    """A prompt and where it was read, for errors: `file:line` or `file: row n`."""

    prompt: Prompt
    where: str


def read_file(path: Path, shown: str | None = None) -> list[LocatedPrompt]:
    """Read a file of prompts.

    A line of .txt is a prompt. A record of the others has `text` (or `prompt`); optionally `split` ('train' or 'eval';
    a tenth is held out by a hash of the text where it is missing), `task` (or `tag`), and `spec`: for the reward.
    Without `spec`, all other fields (such as GenEval's `include` and `exclude`) are the spec; `tag` is part of it too.

    Args:
        path: the file.
        shown: what to call it in errors, where the path is that of a copy.

    Raises:
        DataError: the file cannot be read or is empty, a record is invalid, a text is a duplicate; names the line.
    """
    readers = {".txt": _read_txt, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
    shown = shown or str(path)
    if path.suffix not in readers:
        remedy = f"give {', '.join(map(repr, WITHOUT_FILE))}, or a file that ends in .txt, .jsonl or .parquet"
        raise DataError("is not a source of prompts", where=f"prompts.source {shown}", remedy=remedy)
    located: list[LocatedPrompt] = []
    first: dict[str, str] = {}
    without_split = 0
    try:
        for record, where in readers[path.suffix](path, shown):
            prompt = _parse(record, where)
            if prompt.text in first:
                message = f"duplicate prompt '{prompt.text}', first at {first[prompt.text]}"
                raise DataError(message, where=where, remedy="remove one of the two")
            first[prompt.text] = where
            located.append(LocatedPrompt(prompt, where))
            without_split += record.get("split") is None
    except OSError as error:
        message = f"cannot be read: {error.strerror or error}"
        raise DataError(message, where=shown, remedy="check prompts.source and the file") from error
    if not located:
        remedy = 'put in one prompt a line, such as {"text": "a red circle", "split": "train"}'
        raise DataError("holds no prompts", where=shown, remedy=remedy)
    if without_split:
        logger.info(
            "%s: %d of %d prompts say no split; one in %d of them is held out, by a hash of its text",
            shown, without_split, len(located), HELD_OUT_SHARE,
        )  # fmt: skip
    return located


def _read_txt(path: Path, shown: str) -> Iterator[tuple[Any, str]]:
    for text, where in _lines(path, shown):
        yield {"text": text}, where


def _read_jsonl(path: Path, shown: str) -> Iterator[tuple[Any, str]]:
    for text, where in _lines(path, shown):
        try:
            yield json.loads(text, parse_constant=_no_constant), where
        except ValueError as error:
            message = f"is not JSON: {error}"
            raise DataError(message, where=where, remedy="write one JSON object a line") from error


def _lines(path: Path, shown: str) -> Iterator[tuple[str, str]]:
    """Text and location of each line that is not blank."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            where = f"{shown}:{number}"
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise DataError("is not UTF-8 text", where=where, remedy="save the file as UTF-8") from error
            if text:
                yield text, where


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _read_parquet(path: Path, shown: str) -> Iterator[tuple[Any, str]]:
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(str(path)) as file:
            rows = file.read(use_threads=False).to_pylist()
    except ValueError as error:  # pyarrow's ArrowInvalid
        raise DataError(f"is not a Parquet file: {error}", where=shown, remedy="write the file again") from error
    for number, row in enumerate(rows):
        record = _without_nulls(row)
        where = f"{shown}: row {number}"
        if isinstance(record.get("spec"), str):  # Parquet has no column of free objects: JSON text stands for one
            try:
                record["spec"] = json.loads(record["spec"], parse_constant=_no_constant)
            except ValueError as error:
                raise DataError(f"'spec' is not JSON: {error}", where=where, remedy="write a JSON object") from error
        yield record, where


def _without_nulls(value: Any) -> Any:
    """Drops absent fields: Parquet fills them with nulls."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _parse(record: Any, where: str) -> Prompt:
    if not isinstance(record, Mapping):
        raise DataError(f"is {_show(record)}, not an object", where=where, remedy='write {"text": ..., "spec": {...}}')
    text = _text(record, where)
    spec = _spec(record, where)
    task = next((record[key] for key in ("task", "tag") if record.get(key) is not None), spec.get("tag", "all"))
    if not isinstance(task, str) or not task.strip():
        raise DataError(f"'task' is {_show(task)}, not a name", where=where, remedy="give a text, such as 'counting'")
    split: Any = record.get("split")
    if split is None:
        split = "eval" if derive_seed("split", text) % HELD_OUT_SHARE == 0 else "train"
    if split not in ("train", "eval"):
        raise DataError(f"'split' is {_show(split)}", where=where, remedy="give 'train' or 'eval', or leave it out")
    return Prompt(text=text, split=split, task=task, spec=spec)


def _text(record: Mapping[str, Any], where: str) -> str:
    given = {key: record[key] for key in ("text", "prompt") if record.get(key) is not None}
    if not given:
        fields = ", ".join(record) or "none"
        remedy = "give the prompt's text as 'text' (or 'prompt')"
        raise DataError(f"has no 'text' (its fields: {fields})", where=where, remedy=remedy)
    if len(set(map(repr, given.values()))) > 1:
        raise DataError("'text' and 'prompt' differ", where=where, remedy="keep one of the two")
    key, text = next(iter(given.items()))
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"'{key}' is {_show(text)}, not a text", where=where, remedy="give a text that is not empty")
    return text.strip()


def _spec(record: Mapping[str, Any], where: str) -> dict[str, Any]:
    others = {key: value for key, value in record.items() if key not in _FIELDS}
    for key in others:
        near = did_you_mean(key, [*_FIELDS, *_GENEVAL_FIELDS])
        if near and near != key and near not in record:
            remedy = f"did you mean '{near}'? What a reward reads under another name belongs into 'spec'"
            raise DataError(f"unknown field '{key}'", where=where, remedy=remedy)
    if record.get("spec") is None:
        spec = others | ({"tag": record["tag"]} if record.get("tag") is not None else {})
    elif others:
        message = f"has a 'spec' and also {', '.join(map(repr, others))}"
        raise DataError(message, where=where, remedy="put all that the reward reads into 'spec'")
    else:
        spec = record["spec"]
    if not isinstance(spec, dict):
        raise DataError(f"'spec' is {_show(spec)}, not an object", where=where, remedy="give a JSON object")
    try:
        json.dumps(spec, allow_nan=False)
    except (TypeError, ValueError) as error:
        message = f"the spec cannot be kept as JSON: {error}"
        raise DataError(message, where=where, remedy="use texts, numbers, lists and objects only") from error
    return spec


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
