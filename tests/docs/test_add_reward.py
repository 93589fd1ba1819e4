"""docs/add/reward.md, followed: its reward is tried, then trained on, from the folder of its files."""

from __future__ import annotations

import json
import shutil
import textwrap
from functools import partial
from pathlib import Path

import commands
import pages
import pytest

FILES = ("my_function.py", "my_rewards.py", "my_prompts.jsonl", "my_run.yaml")
advantageflow = partial(commands.advantageflow, longest=600)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        shutil.copy(pages.ROOT / "docs" / "examples" / name, tmp_path)
    return tmp_path


def test_the_page_shows_the_files_that_are_tested() -> None:
    page = (pages.ROOT / "docs" / "add" / "reward.md").read_text()
    assert [name for name in FILES if f'--8<-- "{name}"' not in page] == []


def test_rewards_check_tries_the_reward_on_the_prompts(folder: Path) -> None:
    done = advantageflow("rewards", "check", "my_prompts.jsonl", "--reward", "my_rewards:ColourCover", cwd=folder)
    assert done.status == 0, done.output
    assert "can read all of my_prompts.jsonl" in done.output


def test_the_function_of_the_readme_is_a_reward(tmp_path: Path) -> None:
    readme = (pages.ROOT / "README.md").read_text()
    code = readme.partition("as in `my_rewards.py`:\n")[2].partition("\nTry it")[0]
    (tmp_path / "my_rewards.py").write_text(textwrap.dedent(code))
    done = advantageflow("rewards", "check", "--reward", "my_rewards:warmth", cwd=tmp_path)
    assert done.status == 0, done.output
    assert "warmth" in done.output
    assert len(readme.split()) < 1000


def test_a_prompt_that_the_reward_cannot_read_is_named(folder: Path) -> None:
    (folder / "my_prompts.jsonl").write_text('{"text": "a mauve circle", "spec": {"colour": "mauve"}}\n')
    done = advantageflow("rewards", "check", "my_prompts.jsonl", "--reward", "my_rewards:ColourCover", cwd=folder)
    assert done.status == 2
    assert "invalid colour 'mauve'" in done.output


@pytest.mark.slow
def test_a_run_trains_on_the_reward(folder: Path) -> None:
    less = ("--rounds", "1", "--set", "evaluation.images=12", "--set", "evaluation.round_images=6")
    done = advantageflow("run", "--config", "my_run.yaml", *less, "--workdir", "run", cwd=folder)
    assert done.status == 0, done.output
    summary = json.loads((folder / "run" / "summary.json").read_text())
    assert set(summary["final"]["tasks"]) == {"red", "green", "blue"}
