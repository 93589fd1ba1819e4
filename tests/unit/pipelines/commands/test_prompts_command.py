"""`advantageflow prompts`: a look at a source, and a file of it that is a source again."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from advantageflow.errors import DataError, StoreError
from advantageflow.prompts.sources import load_prompts
from advantageflow_pipelines.cli import app
from advantageflow_pipelines.commands.prompts import spread


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["prompts", *arguments], catch_exceptions=False, env={"COLUMNS": "200"})


def test_show_has_prompts_of_each_task_and_counts_all() -> None:
    output = command("show", "shapes", "--count", "12").stdout
    assert output.count("train") == 6 + 6  # shown, and counted
    assert "a circle" in output
    assert "all 784" in output


def test_show_may_only_count() -> None:
    output = command("show", "geneval", "--count", "0").stdout
    assert "a photo of" not in output
    assert "all 5553" in output


@pytest.mark.parametrize("source", ["geneval", "ocr"])
def test_what_is_written_is_a_source_of_the_same_prompts(source: str, tmp_path: Path) -> None:
    file = tmp_path / "made" / "prompts.jsonl"
    command("write", source, "-o", str(file), "--count", "30", "--seed", "3")
    assert load_prompts(str(file)) == load_prompts(source, count=30, seed=3)


def test_a_source_with_a_text_in_both_splits_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="each text once"):
        command("write", "shapes", "-o", str(tmp_path / "prompts.jsonl"))
    assert not any(tmp_path.iterdir())


def test_only_jsonl_is_written(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"not a \.jsonl file"):
        command("write", "ocr", "-o", str(tmp_path / "prompts.json"))
    assert not any(tmp_path.iterdir())


def test_a_source_that_is_none_is_a_clear_error() -> None:
    with pytest.raises(DataError, match="not a source of prompts"):
        command("show", "nothing")


def test_prompts_are_spread_over_groups_and_within_them() -> None:
    known = load_prompts("shapes")
    chosen = spread(known, 24)
    assert len(chosen) == 24
    assert len({(prompt.split, prompt.task) for prompt in chosen}) == 12
    order = list(dict.fromkeys((prompt.split, prompt.task) for prompt in known))
    assert spread(known, 10_000) == sorted(known, key=lambda prompt: order.index((prompt.split, prompt.task)))
