"""docs/add/objective.md, followed: its objective is refused with a wrong option, then trained with, from its folder."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import commands
import pages
import pytest

OBJECTIVE = ("--set", "training.objective=my_objectives:GoodOnly")
advantageflow = partial(commands.advantageflow, longest=600)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(pages.ROOT / "docs" / "examples" / "my_objectives.py", tmp_path)
    return tmp_path


def test_the_page_shows_the_file_that_is_tested() -> None:
    page = (pages.ROOT / "docs" / "add" / "objective.md").read_text()
    assert '--8<-- "my_objectives.py"' in page
    assert " ".join(OBJECTIVE) in page


def test_an_option_that_it_lacks_is_refused(folder: Path) -> None:
    done = advantageflow("run", "--preset", "tiny", *OBJECTIVE, "--set", "training.objective.pwoer=2", cwd=folder)
    assert done.status == 2
    assert "did you mean 'power'?" in " ".join(done.output.split())


@pytest.mark.slow
def test_a_run_trains_with_it(folder: Path) -> None:
    changes = (*OBJECTIVE, "--set", "training.objective.power=2", "--rounds", "1", "--workdir", "run")
    done = advantageflow("run", "--preset", "tiny", *changes, cwd=folder)
    assert done.status == 0, done.output
    assert json.loads((folder / "run" / "summary.json").read_text())["algorithm"] == "my_objectives:GoodOnly"
