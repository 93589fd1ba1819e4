"""Publishing a policy from the command line, and naming a published policy where a policy folder is wanted."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from advantageflow.policy.adapters import attach_adapters
from advantageflow.policy.families.stable_diffusion_3 import StableDiffusion3
from advantageflow.policy.loading import load_transformer
from advantageflow.prompts.initial_policy import write_base_policy
from advantageflow.settings import LoraSettings, ModelSettings
from advantageflow.store.files import publish
from advantageflow.store.policies import read_policy_state
from advantageflow.store.published import is_published
from advantageflow_pipelines import cli
from advantageflow_pipelines.configuration.checks import check_run
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.local.policies import find_policy


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policies")
    write_base_policy(folder / "base")
    adapters = attach_adapters(
        load_transformer(ModelSettings()), folder / "base", LoraSettings(rank=2, alpha=2), 0, StableDiffusion3()
    )
    state = read_policy_state(folder / "base").model_copy(update={"round": 3})
    with publish(folder / "trained") as partial:
        adapters.save(partial, state, ModelSettings())
    return folder / "trained"


def advantageflow(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["advantageflow", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0)


def test_a_published_policy_is_taken_wherever_a_policy_is(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address = str(tmp_path / "shared" / "policy")
    assert advantageflow(monkeypatch, "publish", str(policy), address) == 0
    assert "trained after round 3" in capsys.readouterr().out
    found = find_policy(address)
    assert (found.name, found.state) == (f"policy {address} after round 3", read_policy_state(policy))
    shape = ["training.lora.rank=2", "training.lora.alpha=2"]
    check_run(choose_settings(preset="tiny", assignments=shape, init_policy=address))


def test_a_damaged_policy_is_not_published(policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken"
    with publish(broken) as partial:
        for file in policy.rglob("*"):
            if file.is_file():
                (partial / file.relative_to(policy)).parent.mkdir(exist_ok=True)
                (partial / file.relative_to(policy)).write_bytes(file.read_bytes())
        (partial / "policy" / "adapter_model.safetensors").write_bytes(b"short")
    assert advantageflow(monkeypatch, "publish", str(broken), str(tmp_path / "shared")) == 2
    assert not is_published(str(tmp_path / "shared"))
