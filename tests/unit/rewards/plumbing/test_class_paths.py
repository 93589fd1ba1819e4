"""A reward's class is found by its path, installed or in the current folder, and a wrong path says what is wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from advantageflow.errors import RewardError, SettingsError
from advantageflow.rewards.plumbing.registry import get_reward
from advantageflow.rewards.plumbing.terms import term_rewards
from advantageflow.settings import RewardSettings

MODULE = """
from dataclasses import dataclass
LEVEL = 3

class BrightReward:
    name, version, columns, higher_is_better = "bright", "1", {"mean": (0.0, 255.0)}, True

    def check(self, prompt):
        pass

    def score(self, prompts, images):
        return [({"mean": float(image.mean())}, {}) for image in images]
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package in the current folder that is not installed."""
    folder = tmp_path / "own_rewards"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "bright.py").write_text(MODULE)
    (folder / "broken.py").write_text("import no_such_dependency")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "own_rewards"]:
        del sys.modules[name]


def test_an_installed_class_is_found() -> None:
    assert get_reward("advantageflow.rewards.jpeg:JpegReward").name == "jpeg"


@pytest.mark.usefixtures("package")
def test_a_class_in_the_current_folder_is_found() -> None:
    path = "own_rewards.bright:BrightReward"
    assert list(term_rewards(RewardSettings(name=path, column="mean"))) == [path]
    assert get_reward(path).columns == {"mean": (0.0, 255.0)}


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("path", "message", "remedy"),
    [
        ("own_rewards.bright:", "is not the path of a class", "package.module:Class"),
        ("own rewards:A", "is not the path of a class", "package.module:Class"),
        ("own_rewards.bright:A:B", "is not the path of a class", "package.module:Class"),
        ("own_rewards.brigth:BrightReward", "no module 'own_rewards.brigth' for", "install its package"),
        ("not_there:BrightReward", "no module 'not_there' for", "install its package"),
        ("own_rewards.bright:BrigthReward", "no 'BrigthReward' in own_rewards.bright", "did you mean 'BrightReward'"),
        ("own_rewards.bright:LEVEL", "is of type int, not a class", "package.module:Class"),
    ],
)
def test_a_wrong_path_says_what_is_wrong(path: str, message: str, remedy: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        get_reward(path, term="reward.others.1")
    assert caught.value.where == "reward.others.1.name"
    assert remedy in caught.value.remedy


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("own_rewards.broken:BrightReward", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_dep"),
        ("pathlib:PurePath", "is not a reward: it lacks version, columns"),
    ],
)
def test_what_cannot_be_loaded_or_is_no_reward_says_why(path: str, message: str) -> None:
    with pytest.raises(RewardError, match=message) as caught:
        get_reward(path)
    assert path in caught.value.where
