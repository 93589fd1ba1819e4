"""The page of all commands, from the command line itself: what `--help` says of each."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import typer

from advantageflow_pipelines.cli import app

INTRODUCTION = """# Commands

`advantageflow COMMAND --help` says the same. The command lies in the environment that `make` set up:
`source .venv/bin/activate`, or call `.venv/bin/advantageflow`.
"""


def page() -> str:
    """The page's Markdown."""
    return "\n".join([INTRODUCTION, *_group(typer.main.get_command(app), "advantageflow")])


def _group(command: Any, name: str) -> Iterator[str]:
    for each, member in command.commands.items():
        alone = getattr(member, "invoke_without_command", True)  # a group that does something itself, or a command
        if alone and not member.hidden:
            yield from _command(member, f"{name} {each}")
        if hasattr(member, "commands"):
            yield from _group(member, f"{name} {each}")


def _command(command: Any, name: str) -> Iterator[str]:
    with command.context_class(command, info_name=name) as context:
        usage = " ".join([name, *command.collect_usage_pieces(context)])
        rows = [(parameter, parameter.get_help_record(context)) for parameter in command.params]
    yield f"## {name}\n\n    {usage}\n\n{inspect.cleandoc(command.help or '')}\n"
    shown = [_row(parameter, *record) for parameter, record in rows if record and "--help" not in record[0]]
    if shown:
        yield "| argument or option | meaning |\n|---|---|\n" + "\n".join(shown) + "\n"


def _row(parameter: Any, written: str, meaning: str) -> str:
    meaning = (getattr(parameter, "help", None) or meaning).replace("|", "&#124;").replace("\n", " ")
    return f"| `{written.strip().replace('|', '/')}` | {meaning} |"
