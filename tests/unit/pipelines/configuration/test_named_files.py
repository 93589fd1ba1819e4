"""Files that settings name: made absolute for a run of this machine, refused for a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from advantageflow.errors import SettingsError
from advantageflow.settings import RunSettings
from advantageflow_pipelines.configuration.choices import (
    check_no_local_files,
    choose_settings,
    named_files,
    with_absolute_paths,
)


def chosen(*assignments: str) -> RunSettings:
    return choose_settings(preset="tiny", assignments=["model.name=some/hub-model", *assignments])


def with_options(**options: object) -> RunSettings:
    """Settings in which every term and watched reward has these options."""
    term = {"name": "jpeg", "column": "compressibility", "options": options}
    return RunSettings.model_validate({"reward": {"options": options, "others": [term], "watched": [term]}})


def test_options_of_rewards_that_are_paths_are_named_at_any_depth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.bin").touch()
    settings = with_options(weights="here.bin", parts=[{"head": "/in/the/image"}])
    assert named_files(settings) == {
        f"reward.{term}options.{option}": Path(path)
        for term in ("", "others.0.", "watched.0.")
        for option, path in (("weights", "here.bin"), ("parts.0.head", "/in/the/image"))
    }
    absolute = with_absolute_paths(settings)
    for term in (absolute.reward, *absolute.reward.others, *absolute.reward.watched):
        assert term.options == {"weights": str(tmp_path / "here.bin"), "parts": [{"head": "/in/the/image"}]}


def test_words_addresses_and_long_texts_in_options_are_no_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cpu").touch()
    settings = with_options(device="cpu", url="http://localhost:8000/v1", ask="Is it good? " * 50 + "/ Say yes.", n=3)
    assert named_files(settings) == {}
    assert with_absolute_paths(settings) == settings


def test_a_path_below_the_home_folder_is_found_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert with_absolute_paths(chosen("prompts.source=~/mine.txt")).prompts.source == str(tmp_path / "mine.txt")
    assert named_files(chosen("prompts.source=~nobody.txt"))["prompts.source"] == Path("~nobody.txt")


def test_files_that_settings_name_become_absolute_and_names_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    chosen_files = ("prompts.source=mine.jsonl", "init_policy=old", "model.name=model", "reward.golden=golden.json")
    settings = with_absolute_paths(chosen(*chosen_files))
    assert settings.reward.golden == str(tmp_path / "golden.json")
    assert settings.prompts.source == str(tmp_path / "mine.jsonl")
    assert settings.init_policy == str(tmp_path / "old")
    assert with_absolute_paths(chosen("init_policy=s3://bucket/old")).init_policy == "s3://bucket/old"
    assert settings.model.name == str(tmp_path / "model")
    for url, kept in (("mine", str(tmp_path / "mine")), ("s3://bucket/key", "s3://bucket/key")):
        assert with_absolute_paths(chosen(f"store.url={url}")).store.url == kept
    for source in ("geneval", "ocr", "s3://bucket/mine.jsonl"):
        assert with_absolute_paths(chosen(f"prompts.source={source}")).prompts.source == source
    assert with_absolute_paths(chosen()) == chosen()


def test_files_of_this_machine_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.json").touch()
    (tmp_path / "model").mkdir()
    refused = {
        "prompts.source": ("here.json", "prompts.txt", str(tmp_path / "here.json")),
        "model.name": ("model", "./elsewhere", str(tmp_path / "model")),
        "reward.golden": ("golden.json", str(tmp_path / "here.json")),
        "init_policy": ("runs/last/policy", str(tmp_path / "model")),
        "store.url": ("store", str(tmp_path / "model")),
        "reward.options.weights": ("./elsewhere", "here.json", str(tmp_path / "here.json")),
    }
    for setting, names in refused.items():
        for name in names:
            with pytest.raises(SettingsError, match="does not see") as raised:
                check_no_local_files(choose_settings(preset="tiny", assignments=[f"{setting}={name}"]))
            assert raised.value.where == setting


def test_addresses_and_names_are_no_files() -> None:
    addresses = [
        "prompts.source=s3://bucket/prompts.jsonl",
        "model.name=stabilityai/stable-diffusion-3.5-medium",
        "init_policy=s3://bucket/policies/round-010",
    ]
    assert check_no_local_files(choose_settings(preset="tiny", assignments=addresses)) == []
    for name in ("shapes", "sd35-geneval", "sd35-ocr"):
        assert check_no_local_files(choose_settings(preset=name)) == []


def test_absolute_paths_that_are_not_here_are_those_of_the_images() -> None:
    settings = choose_settings(preset="tiny", assignments=["model.name=/in/the/image", "init_policy=/there/too"])
    assert check_no_local_files(settings) == ["model.name: /in/the/image", "init_policy: /there/too"]
