"""A policy in parts: each task is given one, and together they are the policy that they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from advantageflow.errors import PolicyError
from advantageflow.settings import LoraSettings
from advantageflow.store.manifest import files_of
from advantageflow.store.policies import PolicyState
from advantageflow.store.policy_parts import divide_policy, joined_policy, policy_parts

FILES = {
    "policy": {"policy/adapter_model.safetensors"},
    "rollout_policy": {"rollout_policy/adapter_model.safetensors", "prompt_outcomes.json"},
    "optimiser": {"optimizer.safetensors"},
}


def write_policy(folder: Path, sha256: str = "ab") -> Path:
    for name in set().union(*FILES.values()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    PolicyState(round=2, step=8, lora=LoraSettings(targets=("to_q",)), policy_sha256=sha256).write(folder)
    return folder


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    folder, *others = (tmp_path / "task" / name for name in FILES)
    divide_policy(write_policy(folder), *others)
    return [folder, *others]


def test_a_part_holds_what_its_tasks_read_and_the_state(parts: list[Path]) -> None:
    for part in parts:
        assert set(files_of(part)) == FILES[part.name] | {"state.json"}


def test_the_parts_are_the_policy_again_for_as_long_as_it_is_needed(parts: list[Path], tmp_path: Path) -> None:
    whole = {name: file.read_bytes() for name, file in files_of(write_policy(tmp_path / "whole")).items()}
    with joined_policy(*parts) as joined:
        assert {name: file.read_bytes() for name, file in files_of(joined).items()} == whole
    assert not joined.exists()
    assert set(files_of(parts[0])) == FILES["policy"] | {"state.json"}


def test_a_part_is_found_with_the_others_of_its_task_and_a_whole_policy_is_left_alone(parts: list[Path]) -> None:
    write_policy(parts[0].parent / "another", "cd")
    assert sorted(policy_parts(parts[0])) == sorted(parts)
    assert policy_parts(parts[0].parent / "another") == [parts[0].parent / "another"]


def test_parts_of_two_policies_are_refused(parts: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    divide_policy(write_policy(tmp_path / "cd", "cd"), None, other)
    with pytest.raises(PolicyError, match="not a part of the same policy") as refused, joined_policy(parts[0], other):
        pass
    assert refused.value.where == str(other)


def test_an_error_names_the_file_itself(parts: list[Path]) -> None:
    with pytest.raises(PolicyError) as raised, joined_policy(*parts) as joined:
        raise PolicyError(f"the policy in {joined} is broken", where=f"{joined / 'optimizer.safetensors'}: exp_avg")
    assert raised.value.where == f"{parts[2] / 'optimizer.safetensors'}: exp_avg"
    assert raised.value.message == f"the policy in {parts[0]} is broken"
