"""The loop: the policy of the separate stages bit for bit, and of a loop that was cut short and taken up again."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from loop_world import loop_arguments
from rolled_out import outputs_in

from advantageflow.errors import Preempted, RewardError, SettingsError
from advantageflow.loop import shard as scored_shard
from advantageflow.loop import stage as loop
from advantageflow.rollout import stage as rollout
from advantageflow.scoring import stage as scoring
from advantageflow.settings import RewardSettings, StoreSettings
from advantageflow.store.files import read_json, read_tensors
from advantageflow.tracking.journal import Journal, journal_in_use
from advantageflow.training import stage as training

FILES = ("policy/adapter_model", "rollout_policy/adapter_model", "optimizer")
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "settings of training, and of rollouts": ({"rollout_decay": 0.5, "decay_rounds": 4}, {}),
    "adaptive selection": ({"objective": "diffusion_nft"}, {"selection": "adaptive"}),
    "trajectories": ({"objective": "flow_grpo"}, {"sampler": "sde", "trajectories": True}),
}


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, Any]:
    return loop_arguments(tmp_path / "world")


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Both adapters and the optimiser."""
    return {f"{f}: {k}": v for f in FILES for k, v in read_tensors(folder / f"{f}.safetensors").items()}


def by_stages(folder: Path, arguments: dict[str, Any]) -> Path:
    """The same rounds from file to file; returns the policy."""
    common = {name: arguments[name] for name in ("model", "seed", "prompts", "conditioning")}
    policy = arguments["policy"]
    for number in range(1, arguments["round_index"] + 1):
        out, this = folder / str(number), {**common, "round_index": number}
        for shard in range(2):
            files = outputs_in(out / str(shard))
            rollout.run(arguments["rollout"], shard=shard, rollout_policy=policy, **files, **this)
            scoring.run(
                arguments["reward"], prompts=arguments["prompts"], rollouts=files["rollouts_out"],
                scores_out=out / str(shard) / "scores",
            )  # fmt: skip
        parts = {name: [out / str(shard) / name for shard in range(2)] for name in ("latents", "scores")}
        settings, reward = arguments["settings"], arguments["reward"]
        training.run(settings, reward, policy=policy, policy_out=out / "policy", **parts, **this)
        policy = out / "policy"
    return policy


@pytest.mark.parametrize("case", CASES)
def test_the_loop_gives_the_policy_of_the_separate_stages_bit_for_bit(tmp_path: Path, case: str) -> None:
    of_training, of_rollout = CASES[case]
    arguments = loop_arguments(tmp_path / "world", **of_training)
    arguments["rollout"] = arguments["rollout"].model_copy(update=of_rollout)
    loop.run(**arguments, policy_out=tmp_path / "loop")
    other = by_stages(tmp_path / "stages", arguments)
    mine, theirs = tensors(tmp_path / "loop"), tensors(other)
    assert mine.keys() == theirs.keys()
    assert [name for name, value in mine.items() if not torch.equal(value, theirs[name])] == []
    for file in ("state.json", "prompt_outcomes.json"):
        assert read_json(tmp_path / "loop" / file) == read_json(other / file)


class Interrupting(Journal):
    """Asks this process to end when something is said of a round."""

    def __init__(self, when: Callable[[dict[str, Any]], bool]) -> None:
        super().__init__()
        self._when = when

    def record(self, event: str, **fields: Any) -> None:
        if self._when({"event": event, **fields}):
            self._when = lambda event: False
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    "when",
    [
        lambda event: event["event"] == "metrics" and event["step"] == 2 and "rollout/images" in event["values"],
        lambda event: event["event"] == "progress" and event["unit"] == "samples" and event["done"] > 8,
    ],
    ids=["while it generates the second round", "while it trains the first"],
)
def test_a_loop_that_is_asked_to_end_keeps_its_rounds_and_is_taken_up_bit_for_bit(
    tmp_path: Path, arguments: dict[str, Any], when: Callable[[dict[str, Any]], bool]
) -> None:
    loop.run(**arguments, policy_out=tmp_path / "whole")
    settings = arguments["settings"].model_copy(update={"checkpoint_every": 100})
    arguments |= {"settings": settings, "store": StoreSettings(url=str(tmp_path / "store"))}
    kept = tmp_path / "store" / "checkpoints"
    with journal_in_use(Interrupting(when)), pytest.raises(Preempted, match="rounds that are complete are kept"):
        loop.run(**arguments, policy_out=tmp_path / "again")
    assert len(list(kept.glob("*/manifest.json"))) == 1
    assert not (tmp_path / "again").exists()

    rounds: list[int] = []
    told = Interrupting(lambda event: rounds.append(event["step"]) if event["event"] == "metrics" else False)  # type: ignore[func-returns-value]
    with journal_in_use(told):
        loop.run(**arguments, policy_out=tmp_path / "again")
    assert 1 not in rounds, "the first round is not done again"
    whole, again = tensors(tmp_path / "whole"), tensors(tmp_path / "again")
    assert all(torch.equal(value, again[name]) for name, value in whole.items())
    assert list(kept.glob("*/manifest.json")) == []


def test_a_loop_over_several_nodes_is_refused(arguments: dict[str, Any], tmp_path: Path) -> None:
    arguments["settings"] = arguments["settings"].model_copy(update={"nodes": 2})
    with pytest.raises(SettingsError, match="one node") as refused:
        loop.run(**arguments, policy_out=tmp_path / "out")
    assert refused.value.where == "training.nodes"


@pytest.mark.parametrize("dropped", [0, 3])
def test_a_shard_that_is_scored_as_it_is_made_is_what_both_stages_write(
    arguments: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dropped: int
) -> None:
    score = scoring.score_all
    no_score = RewardError("no score", where="reward 'shapes'", remedy="mend it")
    monkeypatch.setattr(scoring, "score_all", lambda *given: [no_score] * dropped + score(*given)[dropped:])
    arguments["reward"] = RewardSettings(on_error="drop", most_dropped=0.5)
    common = {name: arguments[name] for name in ("model", "seed", "prompts", "conditioning")}
    common |= {"round_index": 1, "rollout_policy": arguments["policy"], "shard": 0}
    apart, together = (outputs_in(tmp_path / name) for name in ("apart", "together"))
    rollout.run(arguments["rollout"], **common, **apart)
    scoring.run(arguments["reward"], prompts=arguments["prompts"], rollouts=apart["rollouts_out"],
                scores_out=tmp_path / "apart" / "scores")  # fmt: skip
    scores = tmp_path / "together" / "scores"
    with journal_in_use(Journal("shard", tmp_path / "shard.jsonl")):
        scored_shard.run(arguments["rollout"], reward=arguments["reward"], **common, **together, scores_out=scores)
    events = [json.loads(line) for line in (tmp_path / "shard.jsonl").read_text().splitlines()]
    ends = {event["unit"]: (event["done"], event["total"]) for event in events if event["event"] == "progress"}
    assert ends.keys() == {"images", "images scored"}
    assert all(done == total > 0 for done, total in ends.values())
    files = {path.relative_to(tmp_path / "apart") for path in (tmp_path / "apart").rglob("*") if path.is_file()}
    assert len(files) >= 4
    for file in files:
        assert (tmp_path / "apart" / file).read_bytes() == (tmp_path / "together" / file).read_bytes(), file


def test_a_reward_that_fails_ends_the_shard_that_it_scores(
    arguments: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RewardError("no score", where="reward 'shapes'", remedy="mend it")

    monkeypatch.setattr(scoring, "score_all", fail)
    monkeypatch.setattr(scored_shard, "_AHEAD", 1)
    common = {name: arguments[name] for name in ("model", "seed", "prompts", "conditioning", "reward")}
    with pytest.raises(RewardError, match="no score"):
        scored_shard.run(
            arguments["rollout"], round_index=1, rollout_policy=arguments["policy"], shard=0, **common,
            **outputs_in(tmp_path), scores_out=tmp_path / "scores",
        )  # fmt: skip
