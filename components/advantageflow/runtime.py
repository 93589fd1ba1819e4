"""How a pipeline task runs its stage: arguments parsed, journal open, errors shown once."""

import inspect
import json
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from advantageflow.errors import MemoryEnded, Preempted, UserError
from advantageflow.parameters import with_parameters
from advantageflow.problems import problems_of, to_error
from advantageflow.settings import Settings
from advantageflow.shown import ShownFormatter, printable
from advantageflow.tracking.journal import Journal, stage_journal

USER_ERROR_STATUS = 2
_MEMORY = re.compile("OutOfMemoryError|not enough memory|can't allocate memory")
_SMALLER = {
    "prompts": "model.device=cpu",
    "rollout": "rollout.batch_groups, rollout.group_size",
    "reward": "the reward's batch, if it has one",
    "training": "training.microbatch, training.gradient_checkpointing=true",
    "loop": "training.microbatch, rollout.batch_groups, training.gradient_checkpointing=true",
    "evaluation": "evaluation.batch",
}
RETRY_STATUS = 75  # of a preempted task; what sysexits.h calls EX_TEMPFAIL: run it again


def run_stage_task(name: str, *, module: str | None = None, **given: Any) -> None:
    """Run a stage as a pipeline task; what each KFP component calls, with all that it was given.

    The journal starts with the settings that hold: all of them, parameters included.

    Args:
        name: the stage, such as 'rollout'.
        module: that has its run(); advantageflow.NAME.stage if None.
        **given: see `arguments_of`. `round_index` and `shard` may be given to any stage, for the journal to show.

    Raises:
        SystemExit: with status 2 after a user's error was shown, 75 when the task was preempted and would go on from
            where it was.
        Exception: whatever else the stage raised; the journal has its traceback.
    """
    log = logging.StreamHandler(sys.stderr)
    log.setFormatter(ShownFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[log])
    parsed, failure = given, None
    try:
        run = import_module(module or f"advantageflow.{name}.stage").run
        parsed, parameters = arguments_of(run, given)
        parsed = parse_arguments(run, parsed, parameters)
    except Exception as error:  # for the journal to record
        failure = error
    place = (_index(given, "round_index"), _index(given, "shard"))
    with _shown(), stage_journal(name, *place, sections_of(parsed)) as journal, memory_told(name):
        if failure is not None:
            raise failure
        run_counted(run, parsed, journal)


def arguments_of(run: Callable[..., None], given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a component was given, by the names that `run` has for it, and the parameters of the pipeline.

    An artifact is its path: that of `X`, or of `new_X`, is `X_out` where `run` takes that, else `X`. Settings
    `X_settings` are `X`, those of the stage itself `settings`. What `run` does not take, `round_index` and `shard`
    apart, is a parameter: a single setting that holds instead of the one in `settings`, unless it is None.
    """
    taken = inspect.signature(run).parameters
    arguments, parameters = {}, {}
    for name, value in given.items():
        section = name.removesuffix("_settings")
        names = [name, f"{name.removeprefix('new_')}_out", *([section, "settings"] if section != name else [])]
        own = next((one for one in names if one in taken), None)
        if own is not None:
            arguments[own] = [_path(one) for one in value] if isinstance(value, list) else _path(value)
        elif name not in ("round_index", "shard") and value is not None:
            parameters[name] = value
    return arguments, parameters


def _path(value: Any) -> Any:
    return getattr(value, "path", value)


def run_counted(run: Callable[..., None], arguments: Mapping[str, Any], journal: Journal) -> None:
    """Run a stage; what its artifacts hold, given and made, is told as part of its cost."""
    journal.cost["bytes_read"] = _bytes(value for key, value in arguments.items() if not key.endswith("_out"))
    run(**arguments)
    journal.cost["bytes_written"] = _bytes(value for key, value in arguments.items() if key.endswith("_out"))


def parse_arguments(
    run: Callable[..., None], arguments: Mapping[str, Any], parameters: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Turn what a pipeline can carry into what `run` takes, by its type hints.

    Settings come from JSON strings, paths from strings, whole numbers also from floats, None also from "".
    `parameters` replace single values of `settings`. Raises SettingsError: one of them is not valid.
    """
    hints = get_type_hints(run)
    parsed = {name: _parse(hints.get(name, Any), value) for name, value in arguments.items()}
    return parsed | ({"settings": with_parameters(parsed["settings"], parameters)} if parameters else {})


def carried(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What `parse_arguments` parses back: settings as JSON strings, paths as absolute strings, the rest as it is."""
    return {name: _carry(value) for name, value in arguments.items()}


def _carry(value: Any) -> Any:
    if isinstance(value, Settings):
        return value.model_dump_json()
    if isinstance(value, Path):
        return str(value.absolute())
    if isinstance(value, list):
        return [_carry(item) for item in value]
    return value


def _parse(kind: Any, value: Any) -> Any:
    if inspect.isclass(kind) and issubclass(kind, Settings):
        try:
            return kind.model_validate_json(value)
        except ValidationError as error:
            raise to_error(problems_of(error, kind, {})) from error
    if value == "" and NoneType in get_args(kind):
        return None
    return TypeAdapter(kind).validate_python(value)


def exit_status(error: UserError) -> int:
    """Of a process that shows this error."""
    return RETRY_STATUS if isinstance(error, Preempted) else USER_ERROR_STATUS


def _bytes(values: Iterable[Any]) -> int:
    """What the artifacts among these arguments hold."""
    paths = [path for value in values for path in (value if isinstance(value, list) else [value])]
    files = (file for path in paths if isinstance(path, Path) for file in (path, *path.rglob("*")) if file.is_file())
    return sum(file.stat().st_size for file in files)


@contextmanager
def _shown() -> Iterator[None]:
    """Show a user's error as its one message and exit with its status."""
    try:
        yield
    except UserError as error:
        print(printable(str(error)), file=sys.stderr, flush=True)
        raise SystemExit(exit_status(error)) from error


@contextmanager
def memory_told(stage: str) -> Iterator[None]:
    """Say of a stage whose memory ends which settings need less; a process that the system kills says nothing.
    Raises MemoryEnded: instead of the error of torch, of a GPU or of the CPU, or of Python.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not _MEMORY.search(f"{type(error).__name__}: {error}"):
            raise
        remedy = (
            f"{_SMALLER.get(stage, 'give it more memory')}, in a new run (what is complete stays), or use a larger GPU"
        )
        raise MemoryEnded(f"memory ended: {str(error).partition('. ')[0]}", where=stage, remedy=remedy) from error


def sections_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The settings among a stage's arguments, as JSON, and the seed: what its journal starts with."""
    sections = {name: section for name, value in arguments.items() if (section := _section(value)) is not None}
    return sections | ({"seed": int(arguments["seed"])} if "seed" in arguments else {})


def _index(arguments: Mapping[str, Any], name: str) -> int | None:
    value = arguments.get(name)
    return None if value is None else int(value)


def _section(value: Any) -> dict[str, Any] | None:
    """Settings as a JSON object, also such that could not be parsed; None of what is none."""
    if isinstance(value, Settings):
        return value.model_dump(mode="json")
    try:
        parsed = json.loads(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None
