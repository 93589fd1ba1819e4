"""docs/add/objective.md, followed: its objective trains, and its options are checked."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import commands
import pages
import pytest

CHOSEN = ("run", "--preset", "tiny", "--set", "training.objective=my_objectives:GoodOnly")
advantageflow = partial(commands.advantageflow, longest=600)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(pages.ROOT / "docs" / "examples" / "my_objectives.py", tmp_path)
    return tmp_path


def test_an_option_out_of_bounds_is_refused_with_its_meaning(folder: Path) -> None:
    done = advantageflow(*CHOSEN, "--set", "training.objective.hold=-1", cwd=folder)
    assert done.status == 2
    assert "training.objective.hold" in done.output
    assert "at least 0" in done.output


@pytest.mark.slow
def test_a_run_trains_with_it(folder: Path) -> None:
    hold = ("--set", "training.objective.hold=0.3", "--rounds", "1")
    done = advantageflow(*CHOSEN, *hold, "--workdir", "run", cwd=folder)
    assert done.status == 0, done.output
    assert json.loads((folder / "run" / "summary.json").read_text())["algorithm"] == "my_objectives:GoodOnly"
