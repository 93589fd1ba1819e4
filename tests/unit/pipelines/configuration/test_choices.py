"""Settings chosen by a person, and as a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from advantageflow.errors import SettingsError
from advantageflow_pipelines.configuration.choices import choose_settings, read_settings, write_settings
from advantageflow_pipelines.presets import list_presets, preset_text


@pytest.mark.parametrize("name", list_presets())
def test_every_preset_is_valid_and_says_what_it_is_for(name: str) -> None:
    assert choose_settings(preset=name).preset == name
    assert len(list_presets()[name]) > 20


def test_without_a_choice_it_is_the_embedded_preset() -> None:
    assert choose_settings() == choose_settings(preset="shapes")


def test_rounds_and_seed_win_over_preset_and_assignments() -> None:
    chosen = choose_settings(preset="tiny", assignments=["rounds=3", "seed=3", "rollout.shards=3"], rounds=5, seed=9)
    assert (chosen.rounds, chosen.seed, chosen.rollout.shards) == (5, 9, 3)


@pytest.mark.parametrize("number", [{"rounds": 0}, {"rounds": -1}, {"seed": -1}, {"seed": 2**31}])
def test_rounds_and_seed_are_checked(number: dict[str, int]) -> None:
    with pytest.raises(SettingsError) as caught:
        choose_settings(**number)  # type: ignore[arg-type]
    assert next(iter(number)) in caught.value.where


@pytest.mark.parametrize("name", ["a #1", "null", "a: b", "7"])
def test_a_policy_to_continue_from_may_have_any_name(name: str) -> None:
    assert choose_settings(assignments=["init_policy=other"], init_policy=name).init_policy == name


def test_a_preset_saved_as_a_file_gives_the_same_settings(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(preset_text("tiny"))
    assert choose_settings(config=path, assignments=["preset=tiny"]) == choose_settings(preset="tiny")


def test_an_unknown_preset_has_no_text() -> None:
    with pytest.raises(SettingsError, match="did you mean 'tiny'"):
        preset_text("tinny")


@pytest.mark.parametrize("text", ["1e5", "0123", "1.5", ".5e3", "-3", "null", "true", "1:30", "ümlaut", "a: b", ""])
@pytest.mark.parametrize("number", ["6e-3", "1e-12", "123456.789", "3"])
def test_settings_come_back_from_their_file_whatever_their_texts_and_numbers(
    tmp_path: Path, text: str, number: str
) -> None:
    settings = choose_settings(assignments=[f"training.learning_rate={number}"]).model_copy(update={"preset": text})
    write_settings(tmp_path / "settings.yaml", settings)
    assert read_settings(tmp_path / "settings.yaml") == settings
