"""The commands that the experiments add: offered to the product's command line, and by the package itself."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from advantageflow_experiments.__main__ import COMMANDS

ROOT = Path(__file__).parents[3]


def test_every_command_of_the_package_is_offered_to_the_products() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    offered = project["entry-points"]["advantageflow.commands"]
    loaded = {name: getattr(import_module(module), function) for name, module, function in map(_split, offered.items())}
    assert loaded == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_the_package_runs_its_commands_itself(command: str) -> None:
    arguments = [sys.executable, "-m", "advantageflow_experiments", command, "-h"]
    shown = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=120)
    assert f"Usage: advantageflow {command}" in shown.stdout


def _split(offer: tuple[str, str]) -> tuple[str, str, str]:
    module, _, function = offer[1].partition(":")
    return offer[0], module, function
