"""Adaptive selection in the rollout stage: outcomes come from the policy, shards agree, the journal counts reasons."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rolled_out import outputs_in

from advantageflow.errors import DataError
from advantageflow.prompts.initial_policy import write_base_policy
from advantageflow.records import HISTORY_FILE, Prompt
from advantageflow.rollout.stage import run
from advantageflow.settings import ModelSettings, RolloutSettings
from advantageflow.store.prompt_history import GroupOutcome, PromptHistory, write_history
from advantageflow.store.rollouts import read_index
from advantageflow.tracking.events import read_events
from advantageflow.tracking.journal import stage_journal

ADAPTIVE = RolloutSettings(
    prompts_per_round=5, selection="adaptive", group_size=2, steps=1, batch_groups=2, shards=1, threads=1
)
Chosen = Callable[..., list[str]]


@pytest.fixture
def seen_policy(tmp_path: Path, train: list[Prompt]) -> Path:
    """The base model, with outcomes of the first two prompts: one teaches, one does not."""
    write_base_policy(tmp_path / "seen", {}, {})
    gains = zip(train[:2], (0.0, 0.5), strict=True)
    history = {p.prompt_id: (GroupOutcome(round=1, mean=0.5, std=gain, gain=gain),) for p, gain in gains}
    write_history(tmp_path / "seen", PromptHistory(rounds=1, prompts=history))
    return tmp_path / "seen"


@pytest.fixture
def chosen(model: ModelSettings, prompts: Path, conditioning: Path, tmp_path: Path) -> Chosen:
    """Runs a round's shards; gives the ids of the prompts that they rolled out."""

    def go(policy: Path, shards: int = 1, **changes: object) -> list[str]:
        settings = ADAPTIVE.model_copy(update={"shards": shards, **changes})
        ids = []
        for shard in range(shards):
            out = tmp_path / f"{policy.name}-{shard}-of-{shards}"
            read = {"prompts": prompts, "conditioning": conditioning, "rollout_policy": policy}
            run(settings, model, 3, 2, shard, **read, **outputs_in(out))
            ids += [rollout.prompt_id for rollout in read_index(out / "latents") if rollout.index == 0]
        return ids

    return go


def test_shards_agree_and_outcomes_decide(chosen: Chosen, seen_policy: Path, train: list[Prompt]) -> None:
    whole = chosen(seen_policy)
    assert sorted(chosen(seen_policy, shards=2)) == sorted(whole)
    assert len(set(whole)) == 5
    assert train[1].prompt_id in whole
    assert train[0].prompt_id not in whole, "two others of its task were not seen yet, or teach"


def test_a_policy_without_outcomes_gives_the_balanced_round(chosen: Chosen, base_policy: Path) -> None:
    assert chosen(base_policy) == chosen(base_policy, selection="balanced")


def test_the_journal_tells_once_how_places_were_given(
    chosen: Chosen, seen_policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADVANTAGEFLOW_JOURNAL", str(tmp_path / "journal"))
    with stage_journal("rollout", 2, 0):
        chosen(seen_policy, shards=2)
    values = [event["values"] for event in read_events(tmp_path / "journal") if event["event"] == "metrics"]
    (counts,) = [one for one in values if "rollout/adaptive_prompts" in one]
    assert sum(counts.values()) == 5
    assert counts["rollout/adaptive_prompts"] == 1


def test_outcomes_that_cannot_be_used_are_named(chosen: Chosen, seen_policy: Path) -> None:
    (seen_policy / HISTORY_FILE).write_text('{"rounds": -1, "prompts": {}}')
    with pytest.raises(DataError) as caught:
        chosen(seen_policy)
    assert caught.value.where == f"{seen_policy / HISTORY_FILE}: rounds"
