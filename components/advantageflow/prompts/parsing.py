"""A record of a prompt file as a prompt: its text, split, task and spec, each checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from advantageflow.errors import DataError
from advantageflow.json_text import check_json
from advantageflow.records import Prompt, derive_seed
from advantageflow.suggestions import did_you_mean

HELD_OUT_SHARE = 10  # one prompt in this many is held out where the file does not say
LONGEST_TEXT = 10_000  # characters; the text encoders with the most tokens read a tenth of that
COLUMNS = ("text", "split", "task", "spec")
_FIELDS = ("text", "prompt", "split", "task", "tag", "spec")
_GENEVAL_FIELDS = ("include", "exclude")
_SPLITS: dict[str, Literal["train", "eval"]] = {
    "train": "train", "training": "train",
    "eval": "eval", "val": "eval", "valid": "eval", "validation": "eval", "test": "eval",
}  # fmt: skip


def parse_record(record: Any, where: str, columns: Mapping[str, str]) -> Prompt:
    """The prompt of a record.

    Args:
        record: fields by name.
        where: the place of the record, for errors.
        columns: what the file calls text, split, task and spec, where it has other names for them.

    Raises:
        DataError: it is not a prompt; names the field.
    """
    if not isinstance(record, Mapping):
        raise DataError(f"is {_show(record)}, not an object", where=where, remedy='write {"text": ..., "spec": {...}}')
    record = _renamed(record, where, columns)
    text = _text(record, where)
    spec = _spec(record, where)
    task = next((record[key] for key in ("task", "tag") if record.get(key) is not None), spec.get("tag", "all"))
    if not isinstance(task, str) or not task.strip() or (wrong := _wrong_text(task)):
        what = wrong if isinstance(task, str) and task.strip() else "not a name"
        raise DataError(f"'task' is {_show(task)}, {what}", where=where, remedy="give a text, such as 'counting'")
    given: Any = record.get("split")
    split: Literal["train", "eval"] | None
    if given is None:
        split = "eval" if derive_seed("split", text) % HELD_OUT_SHARE == 0 else "train"
    else:
        split = _SPLITS.get(given.strip().lower()) if isinstance(given, str) else None
    if split is None:
        remedy = f"give one of {', '.join(_SPLITS)}, or leave it out"
        raise DataError(f"'split' is {_show(given)}", where=where, remedy=remedy)
    return Prompt(text=text, split=split, task=task, spec=spec)


def unknown_fields(record: Mapping[str, Any], columns: Mapping[str, str]) -> set[str]:
    """Fields that are neither ours nor GenEval's: they are kept in the spec."""
    return set(record).difference(_FIELDS, _GENEVAL_FIELDS, columns.values())


def nearest_field(name: str) -> str | None:
    """The field that was probably meant by an unknown one."""
    return did_you_mean(name, [*_FIELDS, *_GENEVAL_FIELDS])


def _renamed(record: Mapping[str, Any], where: str, columns: Mapping[str, str]) -> Mapping[str, Any]:
    renamed = dict(record)
    for ours, theirs in columns.items():
        if theirs in renamed and theirs != ours:
            if renamed.get(ours) is not None:
                message = f"has '{ours}' beside '{theirs}', which prompts.columns says is the {ours}"
                raise DataError(message, where=where, remedy="keep one of the two")
            renamed[ours] = renamed.pop(theirs)
    return renamed


def _text(record: Mapping[str, Any], where: str) -> str:
    given = {key: record[key] for key in ("text", "prompt") if record.get(key) is not None}
    if not given:
        fields = ", ".join(map(str, record)) or "none"
        remedy = "give the prompt's text as 'text' (or 'prompt'), or say which field it is: prompts.columns.text=FIELD"
        raise DataError(f"has no 'text' (its fields: {_short(fields)})", where=where, remedy=remedy)
    if len(set(map(repr, given.values()))) > 1:
        raise DataError("'text' and 'prompt' differ", where=where, remedy="keep one of the two")
    key, text = next(iter(given.items()))
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"'{key}' is {_show(text)}, not a text", where=where, remedy="give a text that is not empty")
    if len(text) > LONGEST_TEXT:
        message = f"'{key}' has {len(text):,} characters, more than {LONGEST_TEXT:,}"
        raise DataError(message, where=where, remedy="give a prompt that a text encoder can read")
    if wrong := _wrong_text(text):
        raise DataError(f"'{key}' is {_show(text)}, {wrong}", where=where, remedy="take it out of the text")
    return text.strip()


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
        raise DataError(f"'spec' is {_show(spec)}, not an object", where=where, remedy="give a JSON object")
    for key in others.keys() & spec.keys():
        if others[key] != spec[key]:
            raise DataError(f"'{key}' differs from the spec's own", where=where, remedy="keep one of the two")
    spec = others | spec
    try:
        check_json(spec)
    except (TypeError, ValueError) as error:
        message = f"the spec cannot be kept as JSON: {error}"
        raise DataError(message, where=where, remedy="use texts, numbers, lists and objects only") from error
    return spec


def _show(value: Any) -> str:
    return _short(repr(value))


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
