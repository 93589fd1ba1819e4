"""Settings from presets, files and overrides: what is right loads."""

from __future__ import annotations

from pathlib import Path

import pytest
from configured import from_text, override_error

from advantageflow import configure
from advantageflow.configure import load_settings, preset_names
from advantageflow.errors import SettingsError
from advantageflow.settings import RewardTerm, RunSettings, TrainingSettings


@pytest.fixture
def presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "presets"
    folder.mkdir()
    (folder / "shapes.yaml").write_text("rounds: 3\nrollout:\n  group_size: 4\n")
    (folder / "shapes-long.yaml").write_text("rounds: 30\n")
    (folder / "README.md").write_text("not a preset")
    monkeypatch.setattr(configure, "_presets", lambda: folder)
    return folder


@pytest.mark.usefixtures("presets")
def test_a_preset_sets_its_values_and_its_name_and_leaves_the_defaults() -> None:
    settings = load_settings("shapes", None)
    assert (settings.preset, settings.rounds, settings.rollout.group_size) == ("shapes", 3, 4)
    assert settings.rollout.steps == RunSettings().rollout.steps


@pytest.mark.usefixtures("presets")
def test_preset_names_are_those_of_the_yaml_files() -> None:
    assert preset_names() == ["shapes", "shapes-long"]


def test_every_installed_preset_loads() -> None:
    assert "shapes" in preset_names()
    for name in preset_names():
        assert load_settings(name, None).preset == name


@pytest.mark.usefixtures("presets")
def test_overrides_are_applied_in_order_on_top_of_the_preset() -> None:
    overrides = ["rollout.group_size=8", "training.learning_rate=6e-3", "rollout.group_size=16", "seed=7"]
    settings = load_settings("shapes", None, overrides)
    assert (settings.rollout.group_size, settings.training.learning_rate, settings.seed) == (16, 0.006, 7)
    assert settings.rounds == 3


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.learning_rate=1", 1.0),
        ("training.learning_rate=5e-4", 5e-4),
        ("rollout.trajectories=false", False),
        ("model.revision=0012", "0012"),
        ("model.revision=null", None),
        ("model.name=stabilityai/stable-diffusion-3.5-medium", "stabilityai/stable-diffusion-3.5-medium"),
        ("prompts.source=my prompts #1.txt", "my prompts #1.txt"),
        ("tracking.note=# a plan", "# a plan"),
        ("tracking.note='# a plan'", "# a plan"),
        ("training.adam_betas=[0.8, 0.9]", (0.8, 0.9)),
        ("rollout.sampler=heun", "heun"),
    ],
)
def test_an_override_is_read_as_the_type_of_its_setting(override: str, expected: object) -> None:
    section, key = override.partition("=")[0].split(".")
    assert getattr(getattr(load_settings(None, None, [override]), section), key) == expected


@pytest.mark.usefixtures("presets")
def test_an_unknown_preset_suggests_the_nearest_and_lists_all() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings("shaeps", None)
    assert caught.value.where == "--preset"
    assert "did you mean 'shapes'?" in caught.value.remedy
    assert "shapes-long" in caught.value.remedy


@pytest.mark.usefixtures("presets")
def test_a_file_given_as_a_preset_points_to_config() -> None:
    with pytest.raises(SettingsError, match="use --config"):
        load_settings("my.yaml", None)


def test_a_preset_and_a_file_together_are_refused(presets: Path) -> None:
    with pytest.raises(SettingsError, match="both given"):
        load_settings("shapes", presets / "shapes.yaml")


OTHERS = (
    RewardTerm(name="jpeg", column="compressibility", weight=0.5),
    RewardTerm(name="layout", column="beauty", weight=2.0, minimum=0.1),
)


@pytest.mark.parametrize(
    "value",
    [
        "[{name: jpeg, column: compressibility, weight: 0.5}, {name: layout, column: beauty, weight: 2, minimum: 0.1}]",
        '[{"name": "jpeg", "column": "compressibility", "weight": 0.5},'
        ' {"name": "layout", "column": "beauty", "weight": 2, "minimum": 0.1}]',
    ],
)
def test_further_rewards_are_a_list_in_yaml_or_json(value: str) -> None:
    reward = load_settings(None, None, [f"reward.others={value}", "reward.combine=sum"]).reward
    assert (reward.others, reward.combine) == (OTHERS, "sum")


def test_a_file_may_name_several_rewards(tmp_path: Path) -> None:
    text = """
        reward:
          column: strict
          minimum: 0.5
          others:
            - {name: jpeg, column: compressibility, weight: 0.5}
            - name: layout
              column: beauty
              weight: 2
              minimum: 0.1
    """
    reward = from_text(tmp_path, text).reward
    assert (reward.terms[0].column, reward.terms[0].minimum, reward.terms[1:]) == ("strict", 0.5, OTHERS)


def test_rounds_of_decay_are_those_of_the_run_or_at_least_as_many() -> None:
    settings = load_settings("shapes", None, ["rounds=5", "training.decay_rounds=all"])
    assert settings.training.of_a_run(settings.rounds).decay_rounds == 5
    assert load_settings("shapes", None, ["rounds=5", "training.decay_rounds=9"]).training.decay_rounds == 9
    error = override_error("rounds=5", "training.decay_rounds=4")
    assert (error.message, error.remedy[:13]) == ("the learning rate is 0 after round 4 of 5", "set it to all")


def test_the_learning_rate_falls_linearly_and_is_constant_without_decay() -> None:
    training = TrainingSettings(learning_rate=0.4, decay_rounds=4)
    assert [training.learning_rate_in(number) for number in (1, 2, 3, 4)] == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert TrainingSettings(learning_rate=0.4).learning_rate_in(999) == 0.4


def test_a_function_s_column_is_called_as_the_function_unless_another_is_named() -> None:
    def column(*overrides: str, preset: str | None = "sd35-ocr") -> str:
        return load_settings(preset, None, overrides).reward.column

    assert column("reward.name=mine:warmth") == column("reward.name=mine:warmth", preset=None) == "warmth"
    for given in (["reward.name=mine:warmth", "reward.column=red"], ["reward.column=red", "reward.name=mine:warmth"]):
        assert column(*given) == "red"
    assert column("reward.name=mine:Warmth") == column("reward.name=clipscore") == "accuracy"
    assert load_settings(None, None, ["reward.others=[{name: a.b:red}]"]).reward.others[0].column == "red"
