"""Every command that a page shows can be typed: it exists, with these options, and its settings exist."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import pages
import pytest
import typer
from pydantic import BaseModel

from advantageflow.objectives.base import Objective
from advantageflow.objectives.registry import BUILT_IN, make_objective
from advantageflow.settings import RunSettings
from advantageflow_pipelines.cli import app

PAGES = pages.pages()
OBJECTIVES = (*BUILT_IN, "my_objectives:GoodOnly")  # the last one lies among the examples


def named(page: Path) -> str:
    return str(page.relative_to(pages.ROOT))


def parse(words: list[str]) -> None:
    """Read a command line as `advantageflow` would, without running it."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands") and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    command.make_context("advantageflow", list(words))


def exists(name: str, model: Any = RunSettings) -> bool:
    """Whether a setting of this name may be set in some run."""
    first, _, rest = name.partition(".")
    if model is Objective:
        return any(first in type(make_objective(one)).model_fields for one in OBJECTIVES)
    if isinstance(model, type) and issubclass(model, BaseModel):
        field = model.model_fields.get(first)
        return field is not None and (not rest or exists(rest, field.annotation))
    if typing.get_origin(model) is dict:
        return True
    return any(exists(name, part) for part in typing.get_args(model))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_the_commands_of_a_page_are_read_without_complaint(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pages.ROOT / "docs" / "examples")
    for words in pages.commands(page):
        if words != ["--help"]:
            parse(words)


def test_pages_show_commands_to_be_read() -> None:
    shown = {named(page): list(pages.commands(page)) for page in PAGES}
    assert {"README.md", "docs/running/laptop.md", "docs/add/reward.md", "docs/add/objective.md"} <= {
        name for name, lines in shown.items() if lines
    }


def test_a_command_with_an_option_that_does_not_exist_is_found() -> None:
    with pytest.raises(Exception, match="--no-such-option"):
        parse(["rewards", "check", "--no-such-option"])


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_the_settings_that_a_page_sets_exist(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pages.ROOT / "docs" / "examples")
    assert [name for name in pages.assigned(page) if not exists(name)] == []
