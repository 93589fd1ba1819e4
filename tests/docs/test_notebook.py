"""The notebook, run cell by cell as Python runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "examples" / "learning.ipynb"


def test_every_cell_runs_and_each_evaluation_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    names: dict[str, Any] = {"display": lambda picture: None}  # what a notebook has
    for number, cell in enumerate(cells):
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    run = names["run"]
    assert [picture.size[0] > 200 for picture in names["seen"]] == [True] * 3
    assert run.summary["rounds"][-1]["round"] == 2
    assert run.pictures().size[0] > 200
    before, after = names["before"], names["after"]
    assert [picture.size for picture in (*before, *after)] == [(48, 48)] * 4
    assert before[0].tobytes() != after[0].tobytes()
    assert len(names["read_scores"](Path("by-hand/scores"))) == 8


def test_importing_the_package_imports_next_to_nothing() -> None:
    code = "import sys, advantageflow as af; print(sorted({m.partition('.')[0] for m in sys.modules} & "
    code += "{'torch', 'numpy', 'pydantic', 'advantageflow_pipelines'}), 'run' in dir(af))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] True\n"
