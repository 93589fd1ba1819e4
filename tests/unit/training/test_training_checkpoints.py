"""Checkpoints: an attempt that was cut short is gone on with, bit for bit, and only by the same training."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training_task import checkpoints, start, steps_kept, wait_for

from advantageflow.errors import Preempted, SettingsError, StoreError
from advantageflow.objectives.advantage_flow import AdvantageFlow
from advantageflow.records import Score
from advantageflow.settings import ModelSettings, RewardSettings, StoreSettings, TrainingSettings
from advantageflow.store.files import read_json
from advantageflow.store.published import fetch_published
from advantageflow.store.rollouts import read_scores, write_scores
from advantageflow.tracking.journal import Journal, journal_in_use
from advantageflow.training import stage

pytestmark = pytest.mark.fault

STEPS = 6


class Cut(Exception):
    """What ends an attempt."""


class CuttingJournal(Journal):
    """Ends the attempt when so many samples are done, in the middle of a gradient step."""

    def __init__(self, samples: int, act: Callable[[], None]) -> None:
        super().__init__()
        self.samples, self.act = samples, act

    def progress(self, done: int, total: int, unit: str) -> None:
        if done >= self.samples:
            self.samples = total + 1
            self.act()


def cut_short(samples: int, arguments: dict[str, Any]) -> None:
    """An attempt that ends after so many samples."""

    def cut() -> None:
        raise Cut

    with journal_in_use(CuttingJournal(samples, cut)), pytest.raises(Cut):
        stage.run(**arguments)


@pytest.fixture
def settings(settings: TrainingSettings) -> TrainingSettings:
    """Minibatches of 24 samples, in microbatches of 8."""
    return settings.model_copy(update={"gradient_steps": STEPS, "inner_epochs": STEPS, "microbatch": 8})


@pytest.fixture
def world(maker: Any) -> Any:
    return maker.make()


@pytest.fixture
def arguments(world: Any, settings: TrainingSettings, model: ModelSettings, tmp_path: Path) -> Callable[..., Any]:
    """The stage's arguments, writing to a folder of this name; with checkpoints after every second step."""

    def make(out: str, *, store: bool = True, seed: int = 0, **changes: Any) -> dict[str, Any]:
        every = {"checkpoint_every": 2} if store else {}
        return {
            **world.artifacts(),
            "settings": settings.model_copy(update={**every, **changes}),
            "reward": RewardSettings(), "model": model, "seed": seed, "round_index": 1,
            "policy_out": tmp_path / out,
            "store": StoreSettings(url=str(tmp_path / "store")) if store else StoreSettings(),
        }  # fmt: skip

    return make


def sha256(arguments: dict[str, Any]) -> str:
    return str(read_json(arguments["policy_out"] / "state.json")["policy_sha256"])


def read_journal(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def first_progress(file: Path) -> int:
    return next(event["done"] for event in read_journal(file) if event["event"] == "progress")


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_an_attempt_that_was_cut_short_is_gone_on_with_bit_for_bit(
    arguments: Callable[..., Any], tmp_path: Path, hash_of: Callable[[Path], str], decay: float
) -> None:
    whole = arguments("whole", store=False, rollout_decay=decay)
    stage.run(**whole)
    resumed = arguments("resumed", rollout_decay=decay)
    cut_short(24 * 5 + 8, resumed)
    assert not resumed["policy_out"].exists()
    assert steps_kept(tmp_path / "store") == 4

    journal = Journal("resumed", tmp_path / "journal.jsonl")
    with journal_in_use(journal):
        stage.run(**resumed)
    for name in ("policy", "rollout_policy"):
        assert hash_of(resumed["policy_out"] / name) == hash_of(whole["policy_out"] / name)
    optimiser = [(made["policy_out"] / "optimizer.safetensors").read_bytes() for made in (whole, resumed)]
    assert optimiser[0] == optimiser[1]
    assert first_progress(tmp_path / "journal.jsonl") == 24 * 4 + 8  # nothing was done twice
    events = read_journal(tmp_path / "journal.jsonl")
    by_step = [e["step"] for e in events if e["event"] == "metrics" and not e["parent"]]
    assert by_step == list(range(1, STEPS + 1))  # the metrics of the first attempt's steps are kept too


def test_a_round_that_is_done_leaves_its_policy_in_the_store_and_no_checkpoint(
    arguments: Callable[..., Any], tmp_path: Path, hash_of: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADVANTAGEFLOW_PIPELINE_RUN_ID", "run-7")
    done = arguments("done")
    stage.run(**done)
    assert not checkpoints(tmp_path / "store")
    (published,) = (tmp_path / "store" / "policies" / "run-7").iterdir()
    assert published.name == f"round-001-{sha256(done)[:12]}"
    assert hash_of(fetch_published(str(published), tmp_path / "cache")) == hash_of(done["policy_out"])
    stage.run(**done)  # a task that is tried again finds it there


def _other_scores(world: Any, arguments: dict[str, Any]) -> None:
    scores = read_scores(world.scores[0])
    changed = [
        Score(s.rollout_id, {**s.rewards, "soft": s.rewards["soft"] + 0.01 * k}, {}, "1") for k, s in enumerate(scores)
    ]
    write_scores(world.scores[0], changed, ["soft", "strict"], {"round": 1})


def _other_seed(world: Any, arguments: dict[str, Any]) -> None:
    arguments["seed"] = 1


def _other_settings(world: Any, arguments: dict[str, Any]) -> None:
    arguments["settings"] = arguments["settings"].model_copy(update={"objective": AdvantageFlow(lam=2.0)})


@pytest.mark.parametrize("change", [_other_scores, _other_seed, _other_settings])
def test_another_training_starts_from_its_beginning(
    arguments: Callable[..., Any], world: Any, change: Callable[[Any, dict[str, Any]], None]
) -> None:
    cut_short(24 * 3, arguments("cut"))
    kept, fresh = arguments("with"), arguments("without", store=False)
    change(world, kept)
    change(world, fresh)
    stage.run(**kept)
    stage.run(**fresh)
    assert sha256(kept) == sha256(fresh)


def test_an_equal_run_that_ends_leaves_the_newer_checkpoint_of_the_other(
    arguments: Callable[..., Any], tmp_path: Path
) -> None:
    ends, other = arguments("ends"), arguments("other", checkpoint_every=1)

    def run_the_other() -> None:
        until = time.monotonic() + 60
        while not checkpoints(tmp_path / "store") or steps_kept(tmp_path / "store") != 4:
            assert time.monotonic() < until
            time.sleep(0.02)
        cut_short(24 * 5 + 8, other)

    with journal_in_use(CuttingJournal(24 * 4 + 8, run_the_other)):
        stage.run(**ends)
    assert steps_kept(tmp_path / "store") == 5
    stage.run(**other)
    assert sha256(other) == sha256(ends)
    assert not checkpoints(tmp_path / "store")


def test_equal_runs_of_a_cluster_have_checkpoints_of_their_own(
    arguments: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "journal.jsonl"
    monkeypatch.setenv("ADVANTAGEFLOW_PIPELINE_RUN_ID", "run-7")
    cut_short(24 * 3, arguments("seventh"))
    monkeypatch.setenv("ADVANTAGEFLOW_PIPELINE_RUN_ID", "run-8")
    with journal_in_use(Journal("eighth", journal)):
        stage.run(**arguments("eighth"))
    assert first_progress(journal) == 8  # from its beginning
    (kept,) = (tmp_path / "store" / "checkpoints").rglob("manifest.json")
    assert kept.parent.parent.name == "run-7"


def test_how_often_checkpoints_are_written_does_not_name_another_training(
    arguments: Callable[..., Any], tmp_path: Path
) -> None:
    cut_short(24 * 5, arguments("cut"))
    again = arguments("again", checkpoint_every=5)
    with journal_in_use(Journal("again", tmp_path / "journal.jsonl")):
        stage.run(**again)
    assert first_progress(tmp_path / "journal.jsonl") == 24 * 4 + 8


def test_a_damaged_checkpoint_is_an_error_that_names_it_and_the_remedy(
    arguments: Callable[..., Any], tmp_path: Path
) -> None:
    cut_short(24 * 3, arguments("cut"))
    (manifest,) = checkpoints(tmp_path / "store")
    (tensors,) = manifest.parent.rglob("tensors.safetensors")
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1
    tensors.write_bytes(content)
    with pytest.raises(StoreError, match="the checkpoint cannot be used") as caught:
        stage.run(**arguments("again"))
    assert caught.value.where == str(manifest.parent)
    assert "delete the checkpoint" in caught.value.remedy


def test_a_store_that_cannot_be_written_ends_the_training(arguments: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(StoreError):
        stage.run(**arguments("out"))


@pytest.mark.parametrize(
    ("change", "setting"), [({"checkpoint_every": 1}, "checkpoint_every"), ({"nodes": 2}, "nodes")]
)
def test_what_needs_a_store_says_so(arguments: Callable[..., Any], change: dict[str, int], setting: str) -> None:
    with pytest.raises(SettingsError, match=rf"training.{setting} needs store.url") as caught:
        stage.run(**arguments("out", store=False, **change))
    assert caught.value.where == "store.url"


def test_asked_to_end_it_finishes_the_step_keeps_it_and_says_to_run_again(
    arguments: Callable[..., Any], tmp_path: Path
) -> None:
    whole, resumed = arguments("whole", store=False), arguments("resumed")
    stage.run(**whole)
    before = signal.getsignal(signal.SIGTERM)
    with (
        journal_in_use(CuttingJournal(24 * 2 + 8, lambda: os.kill(os.getpid(), signal.SIGTERM))),
        pytest.raises(Preempted, match="gradient step 3 of 6 is done and kept") as caught,
    ):
        stage.run(**resumed)
    assert signal.getsignal(signal.SIGTERM) is before
    assert "run it again" in caught.value.remedy
    assert steps_kept(tmp_path / "store") == 3
    stage.run(**resumed)
    assert sha256(resumed) == sha256(whole)


def test_a_task_whose_process_is_killed_is_gone_on_with_by_another(
    arguments: Callable[..., Any], tmp_path: Path
) -> None:
    many = {"gradient_steps": 40, "inner_epochs": 40, "microbatch": 24}
    whole, resumed = arguments("whole", store=False, **many), arguments("resumed", **many)
    process = start(resumed)
    try:
        wait_for(lambda: checkpoints(tmp_path / "store"), process)
    finally:
        process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not resumed["policy_out"].exists()
    assert 0 < steps_kept(tmp_path / "store") < 40
    stage.run(**resumed)
    stage.run(**whole)
    assert sha256(resumed) == sha256(whole)
    assert not checkpoints(tmp_path / "store")
