"""Options of a reward reach its class; those that do not fit are refused with their name, place and what fits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from advantageflow.configure import load_settings
from advantageflow.errors import SettingsError
from advantageflow.rewards.plumbing.registry import check_options, get_reward
from advantageflow.rewards.plumbing.terms import term_rewards
from advantageflow.settings import RewardSettings, RewardTerm

MODULE = '''
class Bright:
    """Brightness."""

    name, version, higher_is_better = "bright", "1", True

    def __init__(self, *, top: float = 1.0, levels: tuple[int, ...] = (1, 2)) -> None:
        self.levels = levels
        self.columns = {"mean": (0.0, top)}

    def check(self, prompt):
        pass

    def score(self, prompts, images):
        return [({"mean": float(image.mean() / 255)}, {}) for image in images]
'''


@pytest.fixture
def bright(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "options_rewards.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "options_rewards:Bright"


def make(
    *, device: Literal["cpu", "cuda"] = "cpu", batch: int = 16, revision: str | None = None, folder: Path = Path()
) -> None:
    """The parameters of a reward's class."""


def needs(model: str, **more: Any) -> None:
    """One that has to be told something, and takes whatever else there is."""


def error_of(make: Callable[..., Any], options: dict[str, Any]) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        check_options(make, options, reward="clip", where="reward.options")
    return caught.value


def test_options_that_fit_pass_as_their_annotations_want_them() -> None:
    options = {"device": "cuda", "batch": 8, "revision": "main", "folder": "weights"}
    assert check_options(make, options, reward="clip", where="") == {**options, "folder": Path("weights")}
    assert check_options(needs, {"model": "x", "other": [1]}, reward="clip", where="") == {"model": "x", "other": [1]}


def test_an_unknown_option_names_the_nearest_and_all_others() -> None:
    error = error_of(make, {"devcie": "cuda"})
    assert (error.where, error.message) == ("reward.options.devcie", "reward 'clip' has no option 'devcie'")
    assert "did you mean 'device'? options of reward 'clip': batch, device, folder, revision" in error.remedy


def test_a_missing_option_is_named() -> None:
    error = error_of(needs, {"other": 1})
    assert (error.where, error.message) == ("reward.options", "reward 'clip' needs the option 'model'")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "gpu"}, "'cpu' or 'cuda'; it is 'cpu' if left out"),
        ({"batch": "8"}, "valid integer"),
        ({"batch": 8.5}, "valid integer"),
        ({"revision": 1234}, """--set 'reward.options.revision="1234"'"""),
    ],
)
def test_a_value_that_does_not_fit_says_what_does(options: dict[str, Any], words: str) -> None:
    error = error_of(make, options)
    assert error.where == f"reward.options.{next(iter(options))}"
    assert words in error.remedy


def test_assignments_reach_the_class(bright: str) -> None:
    assignments = [f"reward.name={bright}", "reward.options.top=255", "reward.options.levels=[3]"]
    settings = load_settings(None, None, assignments).reward
    assert settings.options == {"top": 255, "levels": [3]}
    reward = get_reward(settings.name, settings.options)
    assert reward.columns == {"mean": (0.0, 255.0)}
    assert vars(reward)["levels"] == (3,)


def test_numbers_stay_numbers_and_a_mapping_may_be_given_whole() -> None:
    whole = load_settings(None, None, ["reward.options={batch: 8, device: cuda}"])
    assert whole.reward == load_settings(None, None, ["reward.options.batch=8", "reward.options.device=cuda"]).reward
    with pytest.raises(SettingsError) as caught:
        load_settings(None, None, ["reward.options=cuda"])
    assert "a section of names and values" in caught.value.remedy


def test_the_term_whose_options_are_wrong_is_named(bright: str) -> None:
    settings = RewardSettings(others=(RewardTerm(name=bright, column="mean", options={"tpo": 2}),))
    with pytest.raises(SettingsError, match="no option 'tpo'") as caught:
        term_rewards(settings)
    assert caught.value.where == "reward.others.0.options.tpo"
    with pytest.raises(SettingsError, match="reward 'shapes' has no option 'device'") as caught:
        term_rewards(RewardSettings(options={"device": "cuda"}))
    assert "there are no options of reward 'shapes'" in caught.value.remedy


def test_two_terms_may_not_give_one_reward_different_options(bright: str) -> None:
    def terms(second: dict[str, Any]) -> RewardSettings:
        other = RewardTerm(name=bright, column="mean", options=second)
        return RewardSettings(name=bright, column="mean", options={"top": 2}, others=(other,))

    with pytest.raises(SettingsError, match=r"other options here than in reward: \{\} and \{'top': 2\}") as caught:
        term_rewards(terms({}))
    assert caught.value.where == "reward.others.0.options"
    with pytest.raises(SettingsError, match="is a duplicate"):  # with equal options the column is what they share
        term_rewards(terms({"top": 2}))
