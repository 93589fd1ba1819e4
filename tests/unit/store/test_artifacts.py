"""Prompts, rollouts and scores come back as they were written, and what does not hold together is refused."""

from __future__ import annotations

import json
import os
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from advantageflow.errors import DataError, PolicyError, StoreError
from advantageflow.records import Prompt, Rollout, Score
from advantageflow.settings import LoraSettings
from advantageflow.store.files import read_metadata, write_json
from advantageflow.store.manifest import files_of
from advantageflow.store.policies import PolicyState, copy_parts, read_policy_state
from advantageflow.store.prompts import read_prompts, write_prompts
from advantageflow.store.rollouts import (
    read_images,
    read_index,
    read_latents,
    read_rollouts,
    read_scores,
    rollout_writer,
    write_latents,
    write_rollouts,
    write_scores,
)

text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
specs = st.dictionaries(text, values, max_size=4)
made_prompts = st.builds(Prompt, text=text, split=st.sampled_from(["train", "eval"]), task=text, spec=specs)


@settings(deadline=None, max_examples=30)
@given(st.lists(made_prompts, max_size=4))
def test_any_prompts_come_back(prompts: list[Prompt]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_prompts(Path(folder) / "prompts", prompts, {"source": "x"})
        assert read_prompts(Path(folder) / "prompts") == prompts


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.builds(
            Rollout,
            prompt_id=st.from_regex(r"[0-9a-f]{16}", fullmatch=True),
            round=st.integers(0, 1000),
            index=st.integers(0, 1000),
            seed=st.integers(0, 2**63 - 1),
        ),
        max_size=4,
    )
)
def test_any_rollouts_come_back(rollouts: list[Rollout]) -> None:
    latents = torch.rand(len(rollouts), 2, 3, 3)
    with tempfile.TemporaryDirectory() as name:
        images = [rollout.rollout_id.encode() for rollout in rollouts]
        write_rollouts(Path(name) / "images", rollouts, images, {"round": 1})
        write_latents(Path(name) / "latents", rollouts, latents, {"round": 1})
        assert list(read_images(Path(name) / "images")) == list(zip(rollouts, images, strict=True))
        assert read_index(Path(name) / "latents") == rollouts
        assert torch.equal(read_latents(Path(name) / "latents", rows=len(rollouts)), latents)
        for artifact in ("images", "latents"):
            assert read_metadata(Path(name) / artifact) == {"round": 1, "rollouts": len(rollouts)}


def test_scores_come_back_with_their_columns_as_float64(tmp_path: Path, scores: list[Score]) -> None:
    write_scores(tmp_path / "scores", scores, ["soft", "strict"], {"round": 3})
    assert read_scores(tmp_path / "scores") == scores
    table = pq.read_table(tmp_path / "scores" / "scores.parquet")
    assert table.schema.field("reward_soft").type == pa.float64()
    assert table["prompt_id"].to_pylist() == [score.rollout_id.split("-")[1] for score in scores]


def test_an_empty_shard_of_scores_keeps_its_columns(tmp_path: Path) -> None:
    write_scores(tmp_path / "scores", [], ["soft"], {})
    assert read_scores(tmp_path / "scores") == []
    assert "reward_soft" in pq.read_schema(tmp_path / "scores" / "scores.parquet").names


def test_equal_artifacts_are_equal_bytes(tmp_path: Path, rollouts: list[Rollout]) -> None:
    for name in ("a", "b"):
        write_rollouts(tmp_path / name / "images", rollouts, [b"x", b"y"], {"round": 3})
        write_latents(tmp_path / name / "latents", rollouts, torch.ones(2, 1, 2, 2), {"round": 3})
    for file in (tmp_path / "a").glob("*/*"):
        assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()


@pytest.fixture
def rollouts_folder(tmp_path: Path, rollouts: list[Rollout]) -> Path:
    write_rollouts(tmp_path / "rollouts", rollouts, [b"x", b"y"], {})
    return tmp_path / "rollouts"


def change_table(path: Path, change: Any) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def test_a_missing_column_is_named(rollouts_folder: Path) -> None:
    path = rollouts_folder / "rollouts.parquet"
    change_table(path, lambda table: table.drop_columns(["seed"]))
    with pytest.raises(DataError, match="column 'seed' is missing") as caught:
        list(read_images(rollouts_folder))
    assert caught.value.where == str(path)


def test_a_column_of_another_type_is_named(rollouts_folder: Path) -> None:
    wrong = pa.array(["x", "y"])
    change_table(rollouts_folder / "rollouts.parquet", lambda table: table.drop(["seed"]).append_column("seed", wrong))
    with pytest.raises(DataError, match="column 'seed' is string, not int64"):
        list(read_images(rollouts_folder))


def test_a_null_is_named_with_its_row(rollouts_folder: Path) -> None:
    some = pa.array([b"x", None], pa.binary())
    change_table(rollouts_folder / "rollouts.parquet", lambda table: table.drop(["image"]).append_column("image", some))
    with pytest.raises(DataError, match="column 'image' has no value") as caught:
        list(read_images(rollouts_folder))
    assert caught.value.where.endswith("rollouts.parquet: row 1")


def test_an_id_that_does_not_fit_its_row_is_named(rollouts_folder: Path) -> None:
    other = pa.array([5, 1], pa.int32())
    change_table(
        rollouts_folder / "rollouts.parquet", lambda table: table.drop(["index"]).append_column("index", other)
    )
    with pytest.raises(DataError, match="does not fit") as caught:
        list(read_images(rollouts_folder))
    assert caught.value.where.endswith("row 0")


def test_a_changed_prompt_text_is_noticed(tmp_path: Path, prompts: list[Prompt]) -> None:
    write_prompts(tmp_path / "p", prompts, {})
    texts = pa.array(["a red circle", "altered"])
    change_table(tmp_path / "p" / "prompts.parquet", lambda table: table.drop(["text"]).append_column("text", texts))
    with pytest.raises(DataError, match="does not belong to the text 'altered'") as caught:
        read_prompts(tmp_path / "p")
    assert caught.value.where.endswith("row 1")


@pytest.mark.parametrize(("spec", "message"), [("{", "not JSON"), ("[1]", "not a JSON object")])
def test_a_broken_spec_is_named(tmp_path: Path, prompts: list[Prompt], spec: str, message: str) -> None:
    write_prompts(tmp_path / "p", prompts, {})
    bad = pa.array([spec, "{}"])
    change_table(tmp_path / "p" / "prompts.parquet", lambda table: table.drop(["spec"]).append_column("spec", bad))
    with pytest.raises(DataError, match=message):
        read_prompts(tmp_path / "p")


def test_latents_that_are_too_few_are_refused(tmp_path: Path, rollouts: list[Rollout]) -> None:
    write_latents(tmp_path, rollouts, torch.ones(2, 1, 2, 2), {})
    with pytest.raises(DataError, match="'latents' has 2 rows, its table 3"):
        read_latents(tmp_path, rows=3)


@pytest.mark.parametrize("damage", ["truncated", "one byte"])
def test_a_corrupt_table_is_named(tmp_path: Path, rollouts: list[Rollout], damage: str) -> None:
    image = bytes(range(256)) * 40
    write_rollouts(tmp_path / "rollouts", rollouts, [image, image], {})
    path = tmp_path / "rollouts" / "rollouts.parquet"
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        del content[-20:]
    else:
        content[content.index(bytes(range(100, 200)))] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match="corrupt") as caught:
        list(read_images(tmp_path / "rollouts"))
    assert caught.value.where == str(path)


def test_writing_and_reading_a_shard_hold_a_few_of_its_images_at_a_time(tmp_path: Path) -> None:
    small, large = 96, 960  # of 100 kB: 10 and 96 MB
    pa.default_memory_pool().release_unused()
    peaks = []
    for count in (small, large):
        tracemalloc.start()
        with rollout_writer(tmp_path / str(count), {}) as write:
            for first in range(0, count, 24):
                part = [Rollout(f"{first:016x}", 1, index, index) for index in range(24)]
                write(part, [os.urandom(100_000) for _ in part])
        before = pa.total_allocated_bytes()
        arrow = 0
        for _, image in read_images(tmp_path / str(count)):
            assert len(image) == 100_000
            arrow = max(arrow, pa.total_allocated_bytes() - before)
        assert len(read_rollouts(tmp_path / str(count))) == count
        peaks.append(tracemalloc.get_traced_memory()[1] + arrow)
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] < 60e6


def test_scores_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="file not found"):
        read_scores(tmp_path / "nowhere")


STATE = PolicyState(round=2, step=8, lora=LoraSettings(rank=2, targets=("to_q",)), policy_sha256="ab")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"round": "2"}, "'round'"),
        ({"policy_sha256": 5}, "'policy_sha256'"),
        ({"policy_sha256": None}, "an adapter has one"),
        ({"lora": {"rank": 0}}, r"'lora\.rank'"),
        ({"rounds": 2}, "'rounds'"),
    ],
)
def test_a_wrong_policy_state_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    STATE.write(tmp_path)
    assert read_policy_state(tmp_path) == STATE
    write_json(tmp_path / "state.json", STATE.model_dump(mode="json") | change)
    with pytest.raises(PolicyError, match=message):
        read_policy_state(tmp_path)


@pytest.mark.parametrize("content", [None, "{", json.dumps({"round": 1})])
def test_a_folder_that_is_no_policy_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "state.json").write_text(content)
    with pytest.raises(PolicyError, match="not a policy") as caught:
        read_policy_state(tmp_path)
    assert caught.value.where == str(tmp_path / "state.json")


def test_what_tasks_read_of_a_policy_are_artifacts_with_its_state(tmp_path: Path) -> None:
    files = {"adapter_config.json", "adapter_model.safetensors"}
    policy = {f"{name}/{file}" for name in ("policy", "rollout_policy") for file in files}
    for name in (*policy, "policy/pytorch_lora_weights.safetensors", "prompt_outcomes.json", "optimizer.safetensors"):
        (tmp_path / "whole" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "whole" / name).write_text(name)
    STATE.write(tmp_path / "whole")
    copy_parts(tmp_path / "whole", tmp_path / "adapter", tmp_path / "rollout")
    assert set(files_of(tmp_path / "adapter")) == {"state.json", *(f"policy/{file}" for file in files)}
    of_rollouts = {"state.json", "prompt_outcomes.json", *(f"rollout_policy/{file}" for file in files)}
    assert set(files_of(tmp_path / "rollout")) == of_rollouts
    assert read_policy_state(tmp_path / "rollout") == read_policy_state(tmp_path / "adapter") == STATE


def test_the_base_model_s_parts_are_its_state(tmp_path: Path) -> None:
    base = PolicyState(round=0, step=0, policy_sha256=None)
    (tmp_path / "base").mkdir()
    base.write(tmp_path / "base")
    copy_parts(tmp_path / "base", tmp_path / "adapter", None)
    assert set(files_of(tmp_path / "adapter")) == {"state.json"}
