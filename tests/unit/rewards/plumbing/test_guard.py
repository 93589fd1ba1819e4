"""A reward of one's own lives in a process that is ended at stated bounds, and is named."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from advantageflow.errors import DataError, RewardError, SettingsError
from advantageflow.records import Prompt
from advantageflow.rewards.base import RewardStopped, planned_version
from advantageflow.rewards.plumbing.checks import check_readable, score_each, score_images
from advantageflow.rewards.plumbing.guard import GuardedReward
from advantageflow.rewards.plumbing.registry import get_guarded

pytestmark = pytest.mark.fault

MODULE = """
import os, time
import numpy as np
from advantageflow.errors import DataError

class Mine:
    name, columns, higher_is_better, headline = "mine", {"mean": (0.0, 255.0)}, False, "mean"

    def __init__(self, *, do: str = "") -> None:
        self.do = do

    @property
    def version(self):
        raise RuntimeError("the weights were loaded")

    unloaded_version = "1 unloaded"

    def check(self, prompt):
        if prompt.text == "unread":
            raise DataError("cannot be read", where="spec.colour")

    def score(self, prompts, images):
        if self.do == "hang":
            time.sleep(60)
        if self.do == "grow" and os.fork():  # a worker of the reward's grows
            os.wait()
        elif self.do == "grow":
            kept = [np.ones(4_000_000) for _ in range(100) if time.sleep(0.01) is None]
            time.sleep(60)
        if self.do == "end":
            os._exit(3)
        if self.do == "leave":
            raise SystemExit(3)
        return [({"mean": np.float32(image.mean())}, {"corner": image[0, 0]}) for image in images]
"""
PROMPTS = [Prompt("a", "train", "all"), Prompt("b", "train", "all")]
IMAGES = [np.full((2, 2, 3), value, dtype=np.uint8) for value in (10, 0)]
SAMPLES = ["1-a-0", "1-b-0"]


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "guarded_rewards.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)


def make(do: str = "", *, timeout: float = 30.0, memory_gb: float = 4.0) -> GuardedReward:
    made = get_guarded("guarded_rewards:Mine", {"do": do}, timeout=30.0, memory_gb=memory_gb)
    assert isinstance(made, GuardedReward)
    made._timeout = timeout  # of what follows: making it takes as long as this machine needs
    return made


def test_it_answers_as_the_reward_itself_and_loads_nothing_for_its_plan() -> None:
    reward = make()
    assert (reward.name, reward.columns, reward.higher_is_better) == ("mine", {"mean": (0.0, 255.0)}, False)
    assert (reward.headline, planned_version(reward)) == ("mean", "1 unloaded")
    assert score_images(reward, PROMPTS, IMAGES, SAMPLES) == [
        ({"mean": 10.0}, {"corner": [10, 10, 10]}), ({"mean": 0.0}, {"corner": [0, 0, 0]}),
    ]  # fmt: skip
    check_readable(reward, PROMPTS[0])
    with pytest.raises(DataError, match="cannot be read") as caught:
        check_readable(reward, Prompt("unread", "train", "all"))
    assert caught.value.where == "spec.colour"
    with pytest.raises(RewardError, match="failed: RuntimeError: the weights were loaded"):
        assert reward.version


@pytest.mark.parametrize(
    ("do", "limits", "words"),
    [
        ("hang", {"timeout": 1.5}, "gave no answer within 1.5 s"),
        ("grow", {"memory_gb": 0.3}, "took more than 0.3 GB of memory"),
        ("end", {}, r"ended its process \(exit status 3\)"),
    ],
)
def test_one_that_hangs_grows_or_ends_is_ended_and_named(do: str, limits: dict[str, float], words: str) -> None:
    reward, started = make(do, **limits), time.monotonic()
    with pytest.raises(RewardStopped, match=words) as caught:
        score_each(reward, PROMPTS, IMAGES, SAMPLES)
    assert time.monotonic() - started < 10
    assert caught.value.where == "reward 'mine', samples 1-a-0 .. 1-b-0"
    assert "--resume" in caught.value.remedy
    assert reward._process.poll() is not None


def test_one_that_leaves_python_has_failed_and_is_named() -> None:
    with pytest.raises(RewardError, match="failed: SystemExit: 3") as caught:
        score_images(make("leave"), PROMPTS, IMAGES, SAMPLES)
    assert caught.value.where == "reward 'mine', samples 1-a-0 .. 1-b-0"


def test_a_wrong_name_and_a_wrong_option_are_refused_as_without_a_guard() -> None:
    with pytest.raises(SettingsError, match="unknown reward 'jepg'"):
        get_guarded("jepg", {}, timeout=30, memory_gb=4)
    with pytest.raises(SettingsError, match="no option 'od'"):
        get_guarded("guarded_rewards:Mine", {"od": 1}, timeout=30, memory_gb=4)


def test_built_in_rewards_need_no_guard() -> None:
    assert type(get_guarded("jpeg", {}, timeout=30, memory_gb=4)).__name__ == "JpegReward"
