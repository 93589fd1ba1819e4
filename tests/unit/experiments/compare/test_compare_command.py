"""`advantageflow compare` as a person meets it: lists, examples, and one message for a mistake."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from advantageflow_experiments.compare.plan import plan_names
from advantageflow_pipelines.cli import main

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Run the command in an empty folder; gives its exit status and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["advantageflow", "compare", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        shown = capsys.readouterr()
        return int(left.value.code or 0), shown.out, shown.err

    return run


def test_it_explains_itself_and_lists_its_plans(compare: Command) -> None:
    status, out, _ = compare("-h")
    assert status == 0
    assert "Usage: advantageflow compare" in out
    listed = compare("--list")[1]
    assert all(name in listed for name in plan_names())


def test_a_plan_is_printed_to_be_changed(compare: Command) -> None:
    variants = yaml.safe_load(compare("--show")[1])["variants"]
    assert [*variants] == ["advantage_flow", "diffusion_nft", "diffusion_nft-fast", "awm", "flow_grpo"]
    assert "grid" in yaml.safe_load(compare("lam", "--show")[1])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("algorithm",), "did you mean 'algorithms'?"),
        (("none.yaml",), "none.yaml: cannot be read: No such file"),
        (("lam", "--seeds", "a"), "not a list of seeds"),
        (("--variants", "advantage_flow,nft"), "the plan has no variant 'nft'"),
        (("lam-auto", "--set", "training.objective.lam=1"), "the variants set training.objective.lam themselves"),
        (("lam", "--set", "rollout.group_size=1"), "at least 2"),
        (("lam", "--set", "prompts.source=none.jsonl"), "none.jsonl"),
        (("--resume", "nowhere"), "holds no comparison"),
        (("lam", "--resume", "nowhere"), "leave PLAN away"),
        (("--resume", "nowhere", "--set", "rounds=1", "--seeds", "1"), "leave --seeds, --set away"),
    ],
)
def test_a_mistake_gets_one_message_and_leaves_nothing_behind(
    compare: Command, arguments: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    status, _, err = compare(*arguments)
    assert status == 2
    assert err.startswith("error: ")
    assert words in err
    assert "what to do: " in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())
