"""The `advantageflow` command: its commands put together, and errors shown as one message."""

import logging
import re
import sys
import traceback
from importlib.metadata import entry_points
from typing import Annotated

import typer
from typer import Option

from advantageflow import __version__
from advantageflow.errors import SettingsError, UserError
from advantageflow.processes import wait_asleep
from advantageflow.shown import ShownFormatter
from advantageflow_pipelines.commands import (
    cluster,
    evaluate,
    look,
    plan,
    policies,
    prompts,
    rewards,
    run,
    runs,
    schedule,
    submit,
)
from advantageflow_pipelines.local.tasks import RunFailed
from advantageflow_pipelines.say import Console

_USER_ERROR_STATUS = 2
_FAILURE_STATUS = 1

app = typer.Typer(
    name="advantageflow",
    help="Fine-tune rectified-flow image models by reinforcement learning, as a Kubeflow pipeline. "
    "Start with: advantageflow run",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("plan")(plan.plan)
app.command("evaluate")(evaluate.evaluate)
app.command("generate")(policies.generate)
app.command("publish")(policies.publish)
app.command("export")(policies.export)
app.command("rollback")(policies.rollback)
app.command("gc")(policies.gc)
app.command("submit")(submit.submit)
app.add_typer(schedule.schedule, name="schedule")
app.add_typer(runs.runs, name="runs")
app.add_typer(cluster.cluster, name="cluster")
app.command("sync")(run.sync)
app.command("ui")(look.ui)
app.command("compile")(submit.compile_command)
app.add_typer(look.presets, name="presets")
app.add_typer(look.resources, name="resources")
app.add_typer(prompts.prompts, name="prompts")
app.add_typer(rewards.rewards, name="rewards")
for _offered in entry_points(group="advantageflow.commands"):
    app.command(_offered.name)(_offered.load())


def _version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


@app.callback()
def _common(
    debug: Annotated[bool, Option("--debug", help="Show the traceback of an error too.")] = False,
    version: Annotated[
        bool, Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    _Debug.wanted = debug


class _Debug:
    """Whether tracebacks of expected errors are wanted."""

    wanted = False


def main() -> None:
    """Run a command; exit status 2 after a user's mistake, 1 after any other failure."""
    wait_asleep()
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(ShownFormatter())  # warnings of the components, which may quote a prompt
    arguments = sorted(sys.argv[1:], key=lambda argument: argument != "--debug")  # it may stand anywhere
    try:
        _refuse_empty(arguments)
        app(arguments, prog_name="advantageflow")
    except UserError as error:
        _show(str(error), error)
        sys.exit(_USER_ERROR_STATUS)
    except RunFailed as failure:
        _show(str(failure), failure)
        sys.exit(_USER_ERROR_STATUS if failure.by_user else _FAILURE_STATUS)


def _refuse_empty(arguments: list[str]) -> None:
    """An empty name would mean another thing: an id becomes the list of all, a folder the one that a person is in."""
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if not argument.strip() or re.fullmatch("--[a-z-]+=", argument):
            where = argument if argument.strip() else f"after '{before}'"
            remedy = "give it, or leave it out; a variable of your shell may not be set"
            raise SettingsError("an argument is empty", where=where, remedy=remedy)


def _show(message: str, error: Exception) -> None:
    if _Debug.wanted:
        traceback.print_exception(error)
    console = Console(stderr=True)
    console.print("error:", style="bold red", end=" ")
    console.print(message, highlight=False, soft_wrap=True)
