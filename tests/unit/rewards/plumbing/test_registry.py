"""Rewards are found by name, built in or as an installed plug-in, and a broken one says why."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from advantageflow.errors import RewardError, SettingsError
from advantageflow.rewards.base import headline_column
from advantageflow.rewards.jpeg import JpegReward
from advantageflow.rewards.plumbing.registry import BUILT_IN, get_reward, list_rewards

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
