"""The prompts stage: checked prompts, each text encoded once, and a policy to start from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from advantageflow.errors import DataError, PolicyError, RewardError, SettingsError
from advantageflow.policy import loading, text
from advantageflow.policy.adapters import attach_adapters
from advantageflow.policy.families.stable_diffusion_3 import StableDiffusion3
from advantageflow.policy.saved import check_all_files
from advantageflow.prompts.initial_policy import copy_policy, write_base_policy
from advantageflow.prompts.stage import encode, run
from advantageflow.records import Prompt
from advantageflow.rewards.base import Result
from advantageflow.rewards.shapes import ShapesReward
from advantageflow.settings import LoraSettings, ModelSettings, PromptSettings, RewardSettings, RewardTerm
from advantageflow.shapes.prompts import all_prompts
from advantageflow.store.conditioning import open_conditioning
from advantageflow.store.files import publish, read_json, read_metadata, read_tensors, write_tensors
from advantageflow.store.policies import read_policy_state
from advantageflow.store.prompts import read_prompts
from advantageflow.tracking.events import read_events
from advantageflow.tracking.journal import stage_journal


@pytest.fixture
def arguments(tmp_path: Path, model: ModelSettings) -> dict[str, Any]:
    source = tmp_path / "prompts.jsonl"
    every = all_prompts()
    few = [p for p in every if p.split == "train"][:3] + [p for p in every if p.split == "eval"][-3:]
    source.write_text("".join(line(prompt) for prompt in few))
    return {
        "settings": PromptSettings(source=str(source), eval_prompts=2),
        "model": model,
        "reward": RewardSettings(),
        "seed": 5,
        "init_policy": None,
        "prompts_out": tmp_path / "prompts",
        "conditioning_out": tmp_path / "conditioning",
        "policy_out": tmp_path / "policy",
    }


def line(prompt: Prompt) -> str:
    record = {"text": prompt.text, "split": prompt.split, "task": prompt.task, "spec": prompt.spec}
    return json.dumps(record) + "\n"


def test_the_artifact_has_an_embedding_of_each_prompt_in_its_row(arguments: dict[str, Any]) -> None:
    run(**arguments)
    prompts = read_prompts(arguments["prompts_out"])
    assert [prompt.split for prompt in prompts] == ["train"] * 3 + ["eval"] * 2
    stored = open_conditioning(arguments["conditioning_out"], prompts)
    for row, said in enumerate([*(prompt.text for prompt in prompts), ""]):
        told, alone = stored.rows([row]).tensors, text.encode_prompts(arguments["model"], [said]).tensors
        assert all(torch.allclose(told[name], alone[name], atol=1e-5) for name in alone)
    assert torch.equal(stored.unconditional().tensors["pooled"], stored.rows([5]).tensors["pooled"])
    first, second = stored.rows([0, 1]).tensors["prompt_embeds"]
    assert not torch.allclose(first, second)
    metadata = read_metadata(arguments["prompts_out"])
    assert (metadata["train"], metadata["eval"], metadata["prompts"]) == (3, 2, 5)


def test_each_distinct_text_is_encoded_once_by_one_load_of_the_encoders(
    model: ModelSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []
    original = text.encode_texts

    def counted(model: ModelSettings, texts: Sequence[str], *rest: Any) -> text.EncodedTexts:
        calls.append(list(texts))
        return original(model, texts, *rest)

    monkeypatch.setattr(text, "encode_texts", counted)
    prompts = [Prompt(said, "train", "t", {"n": n}) for n, said in enumerate(["a star", "a circle", "a star"])]
    told = encode(model, prompts)([0, 1, 2])
    assert len(calls) == 1
    assert sorted(calls[0]) == ["", "a circle", "a star"]
    first, _, third = told.tensors["prompt_embeds"]
    assert torch.equal(first, third)


def test_the_initial_policy_is_the_base_model(arguments: dict[str, Any]) -> None:
    run(**arguments)
    state = read_policy_state(arguments["policy_out"])
    assert (state.round, state.step, state.lora, state.policy_sha256) == (0, 0, None, None)
    assert state.provenance["seed"] == 5
    assert state.prompts.eval_prompts == 2


def test_the_reward_of_every_term_checks_the_prompts_and_is_recorded(arguments: dict[str, Any]) -> None:
    shapes_second = RewardSettings(name="jpeg", column="compressibility", others=(RewardTerm(),))
    run(**{**arguments, "reward": shapes_second})
    provenance = read_policy_state(arguments["policy_out"]).provenance
    assert list(provenance["reward_versions"]) == ["jpeg", "shapes"]
    source = Path(arguments["settings"].source)
    source.write_text(source.read_text() + line(Prompt("a dog", "train", "t", {"tag": "t", "include": "dog"})))
    with pytest.raises(DataError, match="'shapes' cannot read the spec of 'a dog'"):
        run(**{**arguments, "reward": shapes_second})


def test_a_reward_that_gives_all_golden_pictures_the_same_stops_the_stage_by_name(
    arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def constant(self: ShapesReward, prompts: Sequence[Prompt], images: Sequence[Any]) -> list[Result]:
        return [({"strict": 0.0, "soft": 0.0}, {}) for _ in images]

    monkeypatch.setattr(ShapesReward, "score", constant)
    arguments["model"] = ModelSettings(name="there/is-no-such-model")
    with pytest.raises(RewardError, match="gave soft = 0 for all 9 golden pictures") as caught:
        run(**arguments)
    assert "golden check of reward 'shapes'" in caught.value.where
    assert not arguments["prompts_out"].exists()
    assert not arguments["policy_out"].exists()


def test_equal_runs_write_equal_bytes(arguments: dict[str, Any], tmp_path: Path) -> None:
    run(**arguments)
    again = {f"{name}_out": tmp_path / "again" / name for name in ("prompts", "conditioning", "policy")}
    run(**{**arguments, **again})
    for name in (
        "prompts/prompts.parquet",
        "conditioning/conditioning.safetensors",
        "conditioning/metadata.json",
        "prompts/metadata.json",
        "policy/state.json",
    ):
        assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_the_journal_gets_the_dataset_and_the_counts(
    arguments: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADVANTAGEFLOW_JOURNAL", str(tmp_path / "journal"))
    arguments["model"] = arguments["model"].model_copy(update={"max_sequence_length": 5})
    with stage_journal("prompts"):
        run(**arguments)
    every = read_events(tmp_path / "journal")
    golden_checks = next(event["values"] for event in every if event["event"] == "metrics")
    assert (golden_checks["golden_check/shapes/pictures"], golden_checks["alarm/shapes_no_golden_check"]) == (9, 0)
    events = {event["event"]: event for event in every}
    assert events["dataset"]["path"] == str(tmp_path / "prompts" / "prompts.parquet")
    assert events["metrics"]["values"] == {"prompts/train": 3, "prompts/eval": 2}
    told = [event["message"] for event in every if event["event"] == "warning"]
    assert "only 3 of 6 prompts are held out" in told[0]
    assert "text_encoder_3 reads the first 5 tokens of a text only: 2 of 6 texts are cut, such as" in told[1]
    assert read_metadata(tmp_path / "prompts")["warnings"] == told
    assert "useful" in events


def test_bad_prompts_are_refused_before_the_model_is_touched(arguments: dict[str, Any]) -> None:
    Path(arguments["settings"].source).write_text("")
    arguments["model"] = ModelSettings(name="there/is-no-such-model")
    with pytest.raises(DataError, match="holds no prompts"):
        run(**arguments)
    assert not arguments["prompts_out"].exists()


def test_a_wrong_reward_column_is_refused_before_the_model_is_touched(arguments: dict[str, Any]) -> None:
    arguments["model"] = ModelSettings(name="there/is-no-such-model")
    with pytest.raises(SettingsError, match="no column 'aesthetic'"):
        run(**{**arguments, "reward": RewardSettings(column="aesthetic")})


@pytest.fixture
def earlier(tmp_path: Path, model: ModelSettings) -> Path:
    """A policy of an earlier run, with adapters and an optimiser."""
    write_base_policy(tmp_path / "base", {"model": model.model_dump(mode="json")}, {"seed": 0})
    adapters = attach_adapters(
        loading.load_transformer(model), tmp_path / "base", LoraSettings(rank=2, alpha=2), 0, StableDiffusion3()
    )
    state = read_policy_state(tmp_path / "base").model_copy(update={"round": 7, "step": 28})
    with publish(tmp_path / "earlier") as partial:
        adapters.save(partial, state, model)
        write_tensors(partial / "optimizer.safetensors", {"step": torch.ones(1)})
    return tmp_path / "earlier"


def test_a_run_continues_from_an_earlier_policy(arguments: dict[str, Any], earlier: Path) -> None:
    run(**{**arguments, "init_policy": str(earlier)})
    copy, old = arguments["policy_out"], read_policy_state(earlier)
    names = {path.relative_to(earlier) for path in earlier.rglob("*") if path.is_file()}
    assert {path.relative_to(copy) for path in copy.rglob("*") if path.is_file()} == names
    for name in (name for name in names if name.name != "state.json"):
        assert (copy / name).read_bytes() == (earlier / name).read_bytes()
    state = read_policy_state(copy)
    assert (state.round, state.step, state.trained) == (0, 28, True)
    assert (state.policy_sha256, state.lora) == (old.policy_sha256, old.lora)
    origin = state.provenance["continued_from"]
    assert (origin["round"], origin["path"]) == (7, str(earlier))
    assert (old.rounds_before, state.rounds_before) == (0, 7)


def test_a_chain_of_runs_counts_all_its_rounds(earlier: Path, tmp_path: Path) -> None:
    copy_policy(earlier, tmp_path / "second", {})
    state = read_policy_state(tmp_path / "second")
    state.model_copy(update={"round": 5}).write(tmp_path / "second")
    copy_policy(tmp_path / "second", tmp_path / "third", {})
    assert read_policy_state(tmp_path / "third").rounds_before == 12


def test_a_run_starts_from_another_programs_adapter(arguments: dict[str, Any], tmp_path: Path) -> None:
    layer = "lora_transformer_transformer_blocks_0_attn_to_q"
    weights = {"lora_down.weight": torch.ones(4, 128), "lora_up.weight": torch.ones(128, 4), "alpha": torch.tensor(8.0)}
    write_tensors(tmp_path / "mine.safetensors", {f"{layer}.{name}": value for name, value in weights.items()})
    run(**{**arguments, "init_policy": str(tmp_path / "mine.safetensors")})
    state = check_all_files(arguments["policy_out"]).state
    target = ("transformer_blocks.0.attn.to_q",)
    assert (state.round, state.lora) == (0, LoraSettings(rank=4, alpha=8, targets=target))
    assert state.provenance["adapter_from"]["layout"] == "kohya"
    assert state.prompts.eval_prompts == 2


def test_a_copy_knows_the_address_that_the_policy_came_from(earlier: Path, tmp_path: Path) -> None:
    copy_policy(earlier, tmp_path / "copy", {}, "s3://bucket/policy")
    assert read_policy_state(tmp_path / "copy").provenance["continued_from"]["path"] == "s3://bucket/policy"


@pytest.mark.parametrize(
    "name",
    ["policy/adapter_model.safetensors", "rollout_policy/adapter_config.json", "optimizer.safetensors", "state.json"],
)
def test_a_damaged_earlier_policy_is_refused_and_names_the_file(earlier: Path, tmp_path: Path, name: str) -> None:
    path = earlier / name
    if path.suffix == ".json":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(PolicyError) as caught:
        copy_policy(earlier, tmp_path / "copy", {})
    assert caught.value.where == str(path)
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("policy/adapter_model.safetensors", 1.0, "policy_sha256"),
        ("rollout_policy/adapter_model.safetensors", float("nan"), "not finite"),
        ("optimizer.safetensors", float("inf"), "not finite"),
    ],
)
def test_an_earlier_policy_of_other_weights_is_refused_and_names_the_file(
    earlier: Path, name: str, value: float, words: str
) -> None:
    tensors = read_tensors(earlier / name)
    next(iter(tensors.values())).view(-1)[0] = value
    write_tensors(earlier / name, tensors)
    with pytest.raises(PolicyError, match=words) as caught:
        check_all_files(earlier)
    assert caught.value.where == str(earlier / name)


def test_an_adapter_configuration_that_is_no_json_is_refused(earlier: Path) -> None:
    (earlier / "policy" / "adapter_config.json").write_text("{")
    with pytest.raises(PolicyError, match="corrupt") as caught:
        check_all_files(earlier)
    assert caught.value.where == str(earlier / "policy" / "adapter_config.json")


def test_a_folder_that_is_no_policy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="not a policy"):
        copy_policy(tmp_path / "nowhere", tmp_path / "copy", {})


def test_the_base_policy_has_nothing_but_its_state(tmp_path: Path) -> None:
    write_base_policy(tmp_path / "policy", {"a": 1}, {})
    assert [path.name for path in (tmp_path / "policy").iterdir()] == ["state.json"]
    assert read_json(tmp_path / "policy" / "state.json")["settings"] == {"a": 1}
