"""Rewards are found by name, as installed plug-ins or by their path, and a broken one says why."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from advantageflow.errors import RewardError, SettingsError
from advantageflow.rewards.base import headline_column
from advantageflow.rewards.jpeg import JpegReward
from advantageflow.rewards.plumbing.registry import BUILT_IN, get_reward, list_rewards
from advantageflow.rewards.plumbing.terms import term_rewards
from advantageflow.settings import RewardSettings

PLUGIN = '''
class BrightnessReward:
    """How bright the image is."""

    name = "brightness"
    version = "1"
    columns = {"mean": (0.0, 255.0)}
    higher_is_better = True

    def check(self, prompt):
        pass

    def score(self, prompts, images):
        return [({"mean": float(image.mean())}, {}) for image in images]


class Nothing:
    pass
'''

NEEDED = {"vlm": {"base_url": "http://localhost:8000/v1", "model": "judge"}}  # options without which there is no reward
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a distribution with entry points, as pip would lay it out."""

    def make(**entry_points: str) -> None:
        info = tmp_path / "my_rewards-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-rewards\nVersion: 1.0\n")
        lines = [f"{name} = {target}" for name, target in entry_points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[advantageflow.rewards]", *lines]))
        (tmp_path / "my_rewards.py").write_text(PLUGIN)
        monkeypatch.syspath_prepend(str(tmp_path))

    yield make
    sys.modules.pop("my_rewards", None)


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_every_built_in_reward_is_one_and_knows_its_name(name: str) -> None:
    # Is one by its parts; isinstance() would read them, and load a learned reward's weights.
    reward = get_reward(name, NEEDED.get(name))
    assert reward.name == name
    assert reward.columns
    assert all(low < high for low, high in reward.columns.values())


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(SettingsError, match="unknown reward 'jpg'") as caught:
        get_reward("jpg")
    assert caught.value.where == "reward.name"
    assert "did you mean 'jpeg'?" in caught.value.remedy


def test_an_installed_plug_in_is_found_and_scores(install: Install) -> None:
    install(brightness="my_rewards:BrightnessReward")
    reward = get_reward("brightness")
    assert reward.columns == {"mean": (0.0, 255.0)}
    info = {info.name: info for info in list_rewards()}["brightness"]
    assert (info.summary, info.error) == ("How bright the image is.", "")
    assert "my-rewards" in info.origin


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("my_rewards:Missing", "cannot be loaded: AttributeError"),
        ("no_such_module:Reward", "cannot be loaded: ModuleNotFoundError"),
        ("my_rewards:Nothing", "is not a reward: it lacks name, version"),
    ],
)
def test_a_broken_plug_in_is_named_and_does_not_hide_the_others(install: Install, target: str, message: str) -> None:
    install(broken=target)
    with pytest.raises(RewardError, match=message) as caught:
        get_reward("broken")
    assert "my-rewards" in caught.value.where
    listed = {info.name: info for info in list_rewards()}
    assert message in listed["broken"].error
    assert listed["jpeg"].error == ""


def test_a_plug_in_may_not_take_the_name_of_another(install: Install) -> None:
    install(jpeg="my_rewards:BrightnessReward")
    with pytest.raises(SettingsError, match="two rewards are called 'jpeg'"):
        get_reward("jpeg")


def test_the_listing_is_sorted_and_says_what_a_person_needs() -> None:
    listed = list_rewards()
    assert [info.name for info in listed] == sorted(info.name for info in listed)
    jpeg = next(info for info in listed if info.name == "jpeg")
    assert jpeg.columns == dict(JpegReward.columns)
    assert jpeg.origin == "built in"
    assert "JPEG" in jpeg.summary


def test_a_reward_that_needs_options_is_listed_with_what_it_is_for() -> None:
    vlm = next(info for info in list_rewards() if info.name == "vlm")
    assert "needs the option 'base_url'" in vlm.error
    assert "judge" in vlm.summary
    assert vlm.columns == {"score": (0.0, 1.0)}


@pytest.mark.parametrize(
    ("reward", "trained", "headline"),
    [
        ("geneval", "soft", "correct"),
        ("geneval", "strict", "correct"),
        ("shapes", "soft", "strict"),
        ("jpeg", "incompressibility", "incompressibility"),
    ],
)
def test_the_headline_is_what_the_reward_names_or_strict_or_what_is_trained(
    reward: str, trained: str, headline: str
) -> None:
    assert headline_column(get_reward(reward), trained) == headline


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
