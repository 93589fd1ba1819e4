"""Files of prompts: each record as a prompt, repeats dropped, and what is invalid or contradicts itself refused."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from advantageflow.errors import DataError
from advantageflow.json_text import check_json
from advantageflow.prompts.readers import READERS
from advantageflow.records import Prompt, derive_seed
from advantageflow.shown import brief
from advantageflow.suggestions import did_you_mean, suggest

WITHOUT_FILE = ("shapes", "shapes-hard", "geneval", "ocr")  # sources that need no file: embedded or generated
HELD_OUT_SHARE = 10  # one prompt in this many is held out where the file does not say
LONGEST_TEXT = 10_000  # characters; the text encoders with the most tokens read a tenth of that
_FIELDS = ("text", "prompt", "split", "task", "tag", "spec")
_GENEVAL_FIELDS = ("include", "exclude")
_SPLITS: dict[str, Literal["train", "eval"]] = {
    "train": "train", "training": "train",
    "eval": "eval", "val": "eval", "valid": "eval", "validation": "eval", "test": "eval",
}  # fmt: skip
_SHOWN = 8  # names in a message

logger = logging.getLogger(__name__)


class LocatedPrompt(NamedTuple):
    """A prompt and where it was read, for errors: `file:line` or `file: row n`."""

    prompt: Prompt
    where: str


def read_files(
    files: Mapping[Path, str], columns: Mapping[str, str], warn: Callable[[str], None]
) -> list[LocatedPrompt]:
    """Read files of prompts. Raises DataError: a file cannot be read or is empty, a record is invalid, two say
    different things of one text; names the line.

    A line of .txt is a prompt. A record of the others has `text` (or `prompt`); optionally `split` ('train', or 'eval',
    'val', 'validation', 'test'), `task` (or `tag`), and `spec`: for the reward. All other fields, such as GenEval's
    `include` and `exclude`, become part of the spec; without `spec`, `tag` does too. In .txt, .jsonl, .csv and .tsv a
    line that begins with # is a comment.

    Where a record says no split, it is held out if `derive_seed("split", text)` is a multiple of 10: the text alone
    decides, so that a prompt stays on its side whatever is added to the file.

    Args:
        files: each with what to call it in errors: its path, or that of what it is a copy of.
        columns: what the files call text, split, task and spec, where they have other names for them.
        warn: is told what a person should know: repeats that were dropped, fields that nothing here knows.
    """
    located: dict[str, LocatedPrompt] = {}
    fields: set[str] = set()
    for path, shown in files.items():
        try:
            fields |= _read(path, shown, columns, warn, located)
        except OSError as error:
            message = f"cannot be read: {error.strerror or error}"
            raise DataError(message, where=shown, remedy="check prompts.source and the file") from error
    for ours, theirs in columns.items():
        if theirs not in fields:
            where = f"prompts.columns.{ours}={theirs}"
            remedy = suggest(theirs, fields, what=f"fields of {', '.join(files.values())}")
            raise DataError("no record has such a field with anything in it", where=where, remedy=remedy)
    return list(located.values())


def _read(
    path: Path, shown: str, columns: Mapping[str, str], warn: Callable[[str], None], located: dict[str, LocatedPrompt]
) -> set[str]:
    """Add the prompts of a file to those of the files before it, by text; returns the fields of its records."""
    if path.suffix.lower() not in READERS:
        *most, last = READERS
        remedy = f"give {', '.join(map(repr, WITHOUT_FILE))}, or a file that ends in {', '.join(most)} or {last}"
        raise DataError("is not a source of prompts", where=f"prompts.source {shown}", remedy=remedy)
    if path.exists() and not path.is_file():  # a pipe nobody writes to would be waited for
        raise DataError("is not a plain file", where=shown, remedy="check prompts.source and the file")
    records = repeats = without_split = 0
    unknown: dict[str, None] = {}  # in order
    fields: set[str] = set()
    for record, where in READERS[path.suffix.lower()](path, shown):
        prompt = parse_record(record, where, columns)
        records += 1
        if (first := located.setdefault(prompt.text, LocatedPrompt(prompt, where))).where != where:
            repeats += 1
            differing = [name for name in ("split", "task", "spec") if getattr(first[0], name) != getattr(prompt, name)]
            if differing:
                message = f"'{prompt.text}' has another {' and '.join(differing)} than at {first.where}"
                raise DataError(message, where=where, remedy="remove one of the two, or make them agree")
        elif record.get(columns.get("split", "split")) is None:
            without_split += 1
        fields |= set(record)
        unknown |= dict.fromkeys(sorted(set(record).difference(_FIELDS, _GENEVAL_FIELDS, columns.values())))
    if not records:
        remedy = 'put in one prompt a line, such as {"text": "a red circle", "split": "train"}'
        raise DataError("holds no prompts", where=shown, remedy=remedy)
    if repeats:
        warn(f"{shown}: {repeats} of {records} prompts repeat an earlier one and were dropped")
    if unknown:
        near = {name: did_you_mean(name, [*_FIELDS, *_GENEVAL_FIELDS]) for name in unknown}
        names = [f"'{name}'" + (f" (did you mean '{near[name]}'?)" if near[name] else "") for name in unknown]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        kept = f"{', '.join(names[:_SHOWN])}{more}"
        warn(f"{shown}: fields that only the reward may know, kept in each prompt's spec: {kept}")
    if without_split:
        logger.info(
            "%s: %d of %d prompts say no split; one in %d of them is held out, by a hash of its text",
            shown, without_split, records - repeats, HELD_OUT_SHARE,
        )  # fmt: skip
    return fields


def parse_record(record: Any, where: str, columns: Mapping[str, str]) -> Prompt:
    """The prompt of a record: see read_files. Raises DataError: it is not a prompt; names the field."""
    if not isinstance(record, Mapping):
        raise DataError(f"is {brief(record)}, not an object", where=where, remedy='write {"text": ..., "spec": {...}}')
    record = dict(record)
    for ours, theirs in columns.items():
        if theirs in record and theirs != ours:
            if record.get(ours) is not None:
                message = f"has '{ours}' beside '{theirs}', which prompts.columns says is the {ours}"
                raise DataError(message, where=where, remedy="keep one of the two")
            record[ours] = record.pop(theirs)
    text = _text(record, where, columns.get("text"))
    spec = _spec(record, where)
    task = next((record[key] for key in ("task", "tag") if record.get(key) is not None), spec.get("tag", "all"))
    wrong = _wrong_text(task) if isinstance(task, str) and task.strip() else "not a name"
    if wrong:
        raise DataError(f"'task' is {brief(task)}, {wrong}", where=where, remedy="give a text, such as 'counting'")
    given = record.get("split")
    if given is None:
        given = "eval" if derive_seed("split", text) % HELD_OUT_SHARE == 0 else "train"
    split = _SPLITS.get(given.strip().lower()) if isinstance(given, str) else None
    if split is None:
        remedy = f"give one of {', '.join(_SPLITS)}, or leave it out"
        raise DataError(f"'split' is {brief(given)}", where=where, remedy=remedy)
    return Prompt(text=text, split=split, task=task, spec=spec)


def _text(record: Mapping[str, Any], where: str, column: str | None) -> str:
    given = {key: record[key] for key in ("text", "prompt") if record.get(key) is not None}
    if not given:
        fields = ", ".join(map(str, record))[:60] or "none"
        remedy = "give the prompt's text as 'text' (or 'prompt'), or say which field it is: prompts.columns.text=FIELD"
        raise DataError(f"has no '{column or 'text'}' (its fields: {fields})", where=where, remedy=remedy)
    key, text = next(iter(given.items()))
    message = ""
    if len(set(map(repr, given.values()))) > 1:
        message, remedy = "'text' and 'prompt' differ", "keep one of the two"
    elif not isinstance(text, str) or not text.strip():
        message, remedy = f"'{key}' is {brief(text)}, not a text", "give a text that is not empty"
    elif len(text) > LONGEST_TEXT:
        message = f"'{key}' has {len(text):,} characters, more than {LONGEST_TEXT:,}"
        remedy = "give a prompt that a text encoder can read"
    elif wrong := _wrong_text(text):
        message, remedy = f"'{key}' is {brief(text)}, {wrong}", "take it out of the text"
    if message:
        raise DataError(message, where=where, remedy=remedy)
    return str(text).strip()


def _wrong_text(text: str) -> str:
    """What no terminal, database or page takes in a text; empty where there is nothing."""
    for letter in text:
        if (letter < " " and letter not in "\t\n\r") or "\x7f" <= letter <= "\x9f":
            return f"which holds the control character U+{ord(letter):04X}"
        if "\ud800" <= letter <= "\udfff":
            return f"which holds half of a surrogate pair, U+{ord(letter):04X}"
    return ""


def _spec(record: Mapping[str, Any], where: str) -> dict[str, Any]:
    others = {key: value for key, value in record.items() if key not in _FIELDS}
    spec = record.get("spec")
    if spec is None:
        spec = {"tag": record["tag"]} if record.get("tag") is not None else {}
    if not isinstance(spec, dict):
        raise DataError(f"'spec' is {brief(spec)}, not an object", where=where, remedy="give a JSON object")
    for key in others.keys() & spec.keys():
        if others[key] != spec[key]:
            raise DataError(f"'{key}' differs from the spec's own", where=where, remedy="keep one of the two")
    spec = others | spec
    for key, value in spec.items():
        try:
            check_json(value)
        except (TypeError, ValueError) as error:
            message = f"'{key}' cannot be kept as JSON: {error}"
            remedy = "use texts, numbers, lists and objects only, or leave the field out"
            raise DataError(message, where=where, remedy=remedy) from error
    return spec
