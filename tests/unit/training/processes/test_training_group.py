"""Two real processes over gloo: the policy of one process, bit for bit the same each time, however samples divide."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from advantageflow.errors import SettingsError
from advantageflow.store.files import read_json
from advantageflow.store.prompt_history import read_history
from advantageflow.training.group import Group, check_gpus


def test_two_processes_train_the_policy_of_one(trained: Any, case: str) -> None:
    one, two = trained.tensors("one", case), trained.tensors("two", case)
    assert one.keys() == two.keys()  # also of the optimiser: what had no gradient in one process has none in two
    difference = max((one[name] - two[name]).abs().max().item() for name in one)
    print(f"{case}: largest difference {difference:.2g}")
    torch.testing.assert_close(two, one, rtol=1e-4, atol=5e-6)
    assert (
        max(value.abs().max() for name, value in one.items() if name.startswith("policy") and "lora_B" in name) > 0.01
    )


@pytest.mark.parametrize("objective", ["advantage_flow", "flow_grpo"])
def test_two_processes_loop_to_the_policy_of_one(trained: Any, objective: str) -> None:
    one, two = (trained.tensors(by, f"loop {objective}") for by in ("one", "two"))
    assert one.keys() == two.keys()
    torch.testing.assert_close(two, one, rtol=1e-3, atol=2e-4)
    states = [read_json(trained.policy(by, f"loop {objective}") / "state.json") for by in ("one", "two")]
    assert [(state["round"], state["step"]) for state in states] == [(2, 4)] * 2


def test_metrics_and_progress_are_of_all_samples(trained: Any, case: str) -> None:
    one, two = trained.events("one", case), trained.events("two", case)
    timed = {"training/seconds", "training/samples_per_second"}
    for mine, other in zip(*([e for e in events if e["event"] == "metrics"] for events in (one, two)), strict=True):
        assert mine["step"] == other["step"]
        assert mine["values"].keys() == other["values"].keys()
        for name in mine["values"].keys() - timed:
            assert other["values"][name] == pytest.approx(mine["values"][name], rel=1e-3, abs=1e-6), name
    ends = [[e for e in events if e["event"] == "progress"][-1] for events in (one, two)]
    assert ends[0]["done"] == ends[0]["total"] == ends[1]["done"] == ends[1]["total"]


def test_two_processes_repeat_bit_for_bit(trained: Any) -> None:
    first, again = trained.tensors("two", "advantage_flow"), trained.tensors("two", "again")
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_state_and_history_are_those_of_one_process(trained: Any) -> None:
    states = [read_json(trained.policy(by, "awm") / "state.json") for by in ("one", "two")]
    hashes = [state.pop(name) for state in states for name in ("policy_sha256", "rollout_policy_sha256")]
    assert states[0] == states[1]
    assert all(len(value) == 64 for value in hashes)
    one, two = (read_history(trained.policy(by, "awm")) for by in ("one", "two"))
    assert one == two


def test_a_missing_gpu_is_an_error_that_says_how_many_there_are() -> None:
    if torch.cuda.device_count() > 8:
        pytest.skip("this machine has that many GPUs")
    with pytest.raises(SettingsError, match=r"9 processes on this machine need 9 GPUs, and \d can be used"):
        check_gpus(9)


def test_processes_divide_samples_evenly_and_leave_none_out() -> None:
    group = Group()
    for size, count in ((1, 5), (2, 5), (3, 2), (4, 1)):
        group.size = size
        parts = []
        for group.rank in range(size):
            parts.append(group.indices(count))
        assert torch.cat(parts).tolist() == list(range(count))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
