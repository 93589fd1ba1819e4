"""The commands that the experiments add to the product's command line."""

from __future__ import annotations

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
GROUP = "advantageflow.commands"


@pytest.mark.parametrize(("name", "target"), PROJECT["entry-points"][GROUP].items())
def test_every_command_that_is_offered_is_one(name: str, target: str) -> None:
    app = Typer()
    app.command(name)(EntryPoint(name, target, GROUP).load())
    shown = CliRunner().invoke(app, ["--help"])
    assert shown.exit_code == 0
    assert f"Usage: {name}" in shown.output
