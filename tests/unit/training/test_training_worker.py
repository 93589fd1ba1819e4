"""A training whose inputs and results pass through a store, as between the task and the pods of its nodes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from advantageflow.errors import SettingsError, StoreError
from advantageflow.runtime import carried
from advantageflow.settings import ModelSettings, RewardSettings, StoreSettings, TrainingSettings
from advantageflow.store.published import fetch_published, publish_folder
from advantageflow.tracking.journal import Journal, journal_in_use
from advantageflow.training import stage
from advantageflow.training.call import WorkerCall, read_call, receive_result
from advantageflow.training.worker import take_part


@pytest.fixture(autouse=True)
def group_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torchrun would set for a single process."""
    variables = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    for name, value in {**variables, "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def arguments(maker: Any, settings: TrainingSettings, model: ModelSettings, tmp_path: Path) -> dict[str, Any]:
    return {
        **maker.make().artifacts(), "settings": settings, "reward": RewardSettings(), "model": model, "seed": 0,
        "round_index": 1, "policy_out": tmp_path / "here", "store": StoreSettings(),
    }  # fmt: skip


@pytest.fixture
def staged(arguments: dict[str, Any], tmp_path: Path) -> str:
    """Address of the call, published with its inputs beside it."""
    folder, inputs = tmp_path / "staged", ("prompts", "conditioning", "policy")
    paths: dict[str, Any] = {name: name for name in inputs} | {"policy_out": "unused"}
    for name in inputs:
        shutil.copytree(arguments[name], folder / name)
    for name in ("latents", "scores"):
        shutil.copytree(arguments[name][0], folder / name)
        paths[name] = [name]
    call = WorkerCall(carried(arguments) | paths, "task-1", result=str(tmp_path / "result"))
    call.write(folder)
    publish_folder(folder, str(tmp_path / "call"))
    shutil.rmtree(folder)
    return str(tmp_path / "call")


def test_policy_and_journal_come_back_as_if_trained_here(
    arguments: dict[str, Any], staged: str, tmp_path: Path, hash_of: Any
) -> None:
    with journal_in_use(Journal("here", tmp_path / "here.jsonl")):
        stage.run(**arguments)
    take_part(read_call(staged, tmp_path / "cache"))
    with journal_in_use(Journal("there", tmp_path / "there.jsonl")):
        receive_result(fetch_published(str(tmp_path / "result"), tmp_path / "cache"), tmp_path / "there")
    assert hash_of(tmp_path / "there") == hash_of(tmp_path / "here")
    here, there = (
        [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("here", "there")
    )
    assert [event["event"] for event in there if event["event"] != "progress"] == ["useful", *["metrics"] * 4]
    assert {event["task"] for event in there} == {"there"}
    losses = [[e["values"]["training/loss"] for e in events if e["event"] == "metrics"] for events in (here, there)]
    assert losses[0] == losses[1]


def test_a_group_of_another_size_than_the_settings_say_is_refused(arguments: dict[str, Any], tmp_path: Path) -> None:
    arguments["settings"] = arguments["settings"].model_copy(update={"processes": 2, "nodes": 2})
    call = read_call(str(WorkerCall(carried(arguments)).write(tmp_path)), tmp_path)
    with pytest.raises(SettingsError, match="1 processes, and not 4"):
        take_part(call)


def test_a_file_that_is_no_call_is_named(tmp_path: Path) -> None:
    file = tmp_path / "arguments.json"
    file.write_text('{"arguments": {}, "colour": "teal"}')
    with pytest.raises(StoreError, match=r"is not a call of the training stage.*colour") as caught:
        read_call(str(file), tmp_path)
    assert caught.value.where == str(file)
