"""How a pipeline task runs its stage: arguments parsed, journal open, errors shown once, in a cold or warm process."""

from __future__ import annotations

import inspect
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from advantageflow.errors import Preempted, UserError
from advantageflow.parameters import with_parameters
from advantageflow.problems import problems_of, to_error
from advantageflow.settings import Settings
from advantageflow.shown import ShownFormatter, printable
from advantageflow.tracking.journal import Journal, journal_file, new_task_id, stage_journal
from advantageflow.tracking.process import process_started
from advantageflow.warm import WARM_ENV, WarmError, run_in_worker

COLD_STAGES = frozenset({"reward"})  # a reward brings its own imports, often light ones: a warm worker saves nothing
USER_ERROR_STATUS = 2
UNFIT_STATUS = 69  # of a warm worker that cannot use a GPU; what sysexits.h calls EX_UNAVAILABLE
RETRY_STATUS = 75  # of a preempted task; what sysexits.h calls EX_TEMPFAIL: run it again


@dataclass(frozen=True)
class StageCall:
    """One call of a stage, as JSON-able values.

    Attributes:
        stage: name of the stage in its pipeline, such as 'rollout'.
        module: that has the stage's run().
        arguments: of run(); settings as JSON strings, paths as strings. `round_index` and `shard` may be given to any
            stage: those that do not take them only show them in the journal.
        parameters: single settings of the stage, by name; see parameters.py.
        task: id of the task in the journal.
        started: epoch seconds when the task's own process started.
    """

    stage: str
    module: str
    arguments: dict[str, Any]
    parameters: dict[str, Any]
    task: str
    started: float


def run_stage_task(
    name: str, *, module: str | None = None, parameters: Mapping[str, Any] | None = None, **arguments: Any
) -> None:
    """Run a stage as a pipeline task; what each KFP component calls.

    With ADVANTAGEFLOW_WARM set, a worker forked from the warm template does the work, unless it could not use a GPU;
    otherwise this process.

    Args:
        name: the stage, such as 'rollout'.
        module: that has its run(); advantageflow.NAME.stage if None.
        parameters: single settings that a pipeline's parameters give, by name, instead of those in `settings`; those
            that are None are not given.
        **arguments: the arguments of its run(): settings as JSON strings, paths as strings.

    Raises:
        SystemExit: with status 2 after a user's error was shown, 75 when the task was preempted and would go on from
            where it was, or with the status of the warm worker.
        Exception: whatever else the stage raised; the journal has its traceback.
    """
    started = process_started()
    task = new_task_id(name, _index(arguments, "round_index"), _index(arguments, "shard"))
    given = {key: value for key, value in (parameters or {}).items() if value is not None}
    call = StageCall(name, module or f"advantageflow.{name}.stage", arguments, given, task, started)
    socket = os.environ.get(WARM_ENV)
    if not socket or name in COLD_STAGES or not _run_warm(call, Path(socket)):
        _execute(call)


def execute_in_worker(**call: Any) -> None:
    """Execute a StageCall in a worker forked from the warm template; raises as run_stage_task.

    Raises:
        SystemExit: with status 69, and nothing done, where CUDA's driver was initialised before the fork: no GPU can be
            used in this process.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda._is_in_bad_fork():
        raise SystemExit(UNFIT_STATUS)
    _execute(StageCall(**call))


def _execute(call: StageCall) -> None:
    """Run a stage with its journal open, which starts with the settings that hold: all of them, parameters included."""
    log = logging.StreamHandler(sys.stderr)
    log.setFormatter(ShownFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[log])
    failure = None
    try:
        run = import_module(call.module).run
        arguments = parse_arguments(run, call.arguments, call.parameters)
    except Exception as error:  # for the journal to record
        arguments, failure = call.arguments, error
    with _shown(), _journal(call, arguments):
        if failure is not None:
            raise failure
        run(**arguments)


def parse_arguments(
    run: Callable[..., None], arguments: dict[str, Any], parameters: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Turn what a pipeline can carry into what `run` takes, by its type hints.

    Settings come from JSON strings, paths from strings, whole numbers also from floats, None also from "".
    `round_index` and `shard` are dropped where `run` does not take them. `parameters` replace single values of
    `settings`.

    Raises:
        SettingsError: a settings string or a parameter is not valid.
    """
    hints = get_type_hints(run)
    accepted = inspect.signature(run).parameters
    for_journal_only = {"round_index", "shard"} - set(accepted)
    parsed = {
        name: _parse(hints.get(name, Any), value) for name, value in arguments.items() if name not in for_journal_only
    }
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


def _run_warm(call: StageCall, socket: Path) -> bool:
    """Run a stage in a warm worker; False, with nothing done, where the worker could not use a GPU."""
    with _shown():
        try:
            status = run_in_worker(socket, f"{__name__}:execute_in_worker", asdict(call))
        except WarmError as error:
            file = journal_file(call.task)
            if file is not None and file.exists():  # the worker had begun, and died before it could say why
                Journal(call.task, file).error(error)
                raise
            with _journal(call, call.arguments):
                raise
    if status == UNFIT_STATUS:
        print(
            f"warning: stage {call.stage} runs in a process of its own and takes longer to start: a preloaded package "
            "initialised CUDA's driver, so that processes forked from it could use no GPU",
            file=sys.stderr,
            flush=True,
        )
        return False
    if status:
        raise SystemExit(status)  # the worker has shown and recorded its error
    return True


@contextmanager
def _shown() -> Iterator[None]:
    """Show a user's error as its one message and exit with its status."""
    try:
        yield
    except UserError as error:
        print(printable(str(error)), file=sys.stderr, flush=True)
        raise SystemExit(exit_status(error)) from error


def _journal(call: StageCall, arguments: Mapping[str, Any]) -> AbstractContextManager[Journal]:
    """The journal of a call; it starts with the settings among the arguments, and the seed."""
    sections = {name: section for name, value in arguments.items() if (section := _section(value)) is not None}
    seed = {"seed": int(call.arguments["seed"])} if "seed" in call.arguments else {}
    return stage_journal(
        call.stage,
        _index(call.arguments, "round_index"),
        _index(call.arguments, "shard"),
        sections | seed,
        task=call.task,
        started=call.started,
    )


def _section(value: Any) -> dict[str, Any] | None:
    """Settings as a JSON object, also such that could not be parsed; None of what is none."""
    if isinstance(value, Settings):
        return value.model_dump(mode="json")
    try:
        parsed = json.loads(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _index(arguments: dict[str, Any], name: str) -> int | None:
    value = arguments.get(name)
    return None if value is None else int(value)
