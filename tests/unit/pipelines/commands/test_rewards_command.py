"""`advantageflow rewards check` and `record`: a reward is tried before a run, and held to what it gave."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from advantageflow.errors import SettingsError
from advantageflow_pipelines.commands.rewards import parse_options

Command = Callable[..., tuple[int, str, str]]
MODULE = '''
class Mine:
    """Brightness."""

    name, version, columns, higher_is_better = "mine", "1", {"mean": (0.0, 255.0)}, False

    def __init__(self, *, fixed: bool = False) -> None:
        self.fixed = fixed

    def check(self, prompt):
        from advantageflow.errors import DataError

        if self.name not in prompt.text:
            raise DataError("does not say 'mine'")

    def score(self, prompts, images):
        return [({"mean": 7.0 if self.fixed else float(image.mean())}, {}) for image in images]
'''


@pytest.fixture
def rewards(advantageflow: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Command]:
    """Run `advantageflow rewards` in a folder that holds a module with a reward and two pictures."""
    (tmp_path / "mine_rewards.py").write_text(MODULE)
    (tmp_path / "pictures").mkdir()
    for level in (10, 200):
        Image.new("RGB", (8, 8), (level, level, level)).save(tmp_path / "pictures" / f"mine_{level}.png")
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield partial(advantageflow, "rewards")
    sys.modules.pop("mine_rewards", None)


def test_a_built_in_reward_is_tried_on_the_golden_set(rewards: Command) -> None:
    status, out, _ = rewards("check", "--reward", "jpeg")
    assert status == 0
    assert "on 13 pictures: higher is better" in out
    assert "-20000 .. 0" in out
    assert "equal" in out
    assert "pictures/s" in out


def test_prompts_are_checked_too_as_before(rewards: Command, tmp_path: Path) -> None:
    spec = {"tag": "colors", "include": [{"class": "circle", "count": 1}]}
    lines = [{"text": f"{n} circle", "split": split, "spec": spec} for n, split in enumerate(("train", "eval"))]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    status, out, _ = rewards("check", "prompts.jsonl")
    assert status == 0
    assert "reward shapes can read all of prompts.jsonl" in out
    assert "on 9 pictures" in out
    status, _, err = rewards("check", "prompts.jsonl", "--reward", "ocr")
    assert status == 2
    assert "cannot read the spec of '0 circle'" in err


def test_a_reward_of_one_s_own_is_tried_on_one_s_own_pictures(rewards: Command) -> None:
    status, out, _ = rewards("check", "--reward", "mine_rewards:Mine", "--images", "pictures")
    assert status == 0
    assert "on 2 pictures: lower is better" in out
    status, _, err = rewards("check", "--reward", "mine_rewards:Mine")
    assert status == 2
    assert "can read the prompt of no picture" in err
    assert "--images" in err


def test_a_reward_that_breaks_ends_with_the_reason(rewards: Command) -> None:
    command = ("check", "-r", "mine_rewards:Mine", "--images", "pictures")
    status, out, err = rewards(*command, "--option", "fixed=true")
    assert status == 2
    assert "(constant)" in out
    assert "all 2 pictures got the same scores" in err
    status, _, err = rewards(*command, "--option", "fxied=true")
    assert status == 2
    assert "did you mean 'fixed'?" in err


def test_recorded_scores_are_written_with_the_pictures_and_kept_beside_others(rewards: Command, tmp_path: Path) -> None:
    assert rewards("record", "-r", "layout", "-o", "golden.json")[0] == 0
    status, out, _ = rewards("record", "-r", "mine_rewards:Mine", "--images", "pictures", "-o", "golden.json")
    assert status == 0
    assert "golden.json: scores of 2 pictures by mine_rewards:Mine" in out
    written = json.loads((tmp_path / "golden.json").read_text())
    assert written["mine_rewards:Mine"]["scores"] == {"mine_10": {"mean": 10.0}, "mine_200": {"mean": 200.0}}
    assert written["mine_rewards:Mine"]["tolerance"]["mean"] == pytest.approx(0.02 * 190)
    assert "pictures" not in written["layout"]


def test_options_are_read_as_yaml() -> None:
    assert parse_options(["batch=8", "device=cuda", "levels=[1, 2]"]) == {
        "batch": 8, "device": "cuda", "levels": [1, 2],
    }  # fmt: skip
    with pytest.raises(SettingsError, match="not of the form name=value"):
        parse_options(["batch"])
