"""Names of policies, and what a run takes from one: its own shape is recorded, or what was asked for is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from advantageflow.errors import PolicyError, SettingsError, TrackingError
from advantageflow.policy.adapters import attach_adapters
from advantageflow.policy.families.stable_diffusion_3 import StableDiffusion3
from advantageflow.policy.fingerprint import weights_sha256
from advantageflow.policy.loading import load_transformer
from advantageflow.prompts.initial_policy import find_initial, write_base_policy
from advantageflow.settings import LoraSettings, ModelSettings, RunSettings
from advantageflow.shapes.architecture import build_pipeline
from advantageflow.store.files import publish, read_tensors, write_json, write_tensors
from advantageflow.store.policies import read_policy_state
from advantageflow.tracking.mlflow_store import open_client, sqlite_uri
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.local.policies import find_policy, policy_artifact, with_initial_policy
from advantageflow_pipelines.local.summary import SHOWN
from advantageflow_pipelines.local.workdir import create_workdir

Generate = Callable[..., tuple[int, str]]
SHAPE = LoraSettings(rank=2, alpha=6, targets=("to_k", "to_q"))


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policies")
    model = ModelSettings()
    write_base_policy(folder / "base", {"model": model.model_dump(mode="json")})
    transformer = load_transformer(model)
    adapters = attach_adapters(transformer, folder / "base", SHAPE, 0, StableDiffusion3())
    with torch.no_grad():
        for parameter in adapters.parameters():
            parameter.add_(0.05)
    update = {"round": 3, "base_sha256": weights_sha256(transformer)}
    with publish(folder / "trained") as partial:
        adapters.save(partial, read_policy_state(folder / "base").model_copy(update=update), model)
    return folder / "trained"


@pytest.fixture
def generate(advantageflow: Callable[..., tuple[int, str, str]]) -> Generate:
    """Runs `advantageflow generate` with a model: its status, and what it said."""

    def run(model: str, *others: str) -> tuple[int, str]:
        status, out, err = advantageflow("generate", "a red circle", "-m", model, "--steps", "1", *others)
        return status, out + err

    return run


def settings(policy: Path | str, *assignments: str) -> RunSettings:
    return choose_settings(preset="tiny", assignments=assignments, init_policy=str(policy))


def working_folder(root: Path, policy: Path) -> Path:
    """Of a run that ended with this policy."""
    workdir = create_workdir(root, choose_settings(preset="tiny"))
    shutil.copytree(policy, workdir.artifacts / "online" / "training" / "new_policy")
    return root


def test_a_run_takes_the_shape_of_the_policy_that_it_starts_from(policy: Path, tmp_path: Path) -> None:
    for name in (policy, policy / "policy", working_folder(tmp_path / "run", policy)):
        taken, words = with_initial_policy(settings(name), tmp_path, lora_asked=False)
        assert taken.training.lora == SHAPE
        assert "rank 2, alpha 6, to_k, to_q; training.lora is set to these" in words
        assert read_policy_state(Path(str(taken.init_policy))).round == 3


def test_no_earlier_policy_stands_in_for_the_last_one_of_a_complete_run(policy: Path, tmp_path: Path) -> None:
    workdir = create_workdir(tmp_path / "run", choose_settings(preset="tiny", rounds=4))
    shutil.copytree(policy, workdir.artifacts / "online" / "training-3" / "new_policy")
    assert find_policy(str(workdir.root)).path.parent.name == "training-3"
    write_json(workdir.summary_file, dict.fromkeys(SHOWN))
    with pytest.raises(PolicyError, match="the policy after round 4, its last, is missing or damaged"):
        find_policy(str(workdir.root))


@pytest.mark.parametrize("change", ["rank=4", "alpha=2", "targets=[to_q]"])
def test_another_shape_that_a_person_asked_for_is_refused(policy: Path, tmp_path: Path, change: str) -> None:
    own = ("training.lora.rank=2", "training.lora.alpha=6", "training.lora.targets=[to_k,to_q]")
    asked = settings(policy, *own, f"training.lora.{change}")
    with pytest.raises(SettingsError, match="the settings ask for") as caught:
        with_initial_policy(asked, tmp_path, lora_asked=True)
    assert caught.value.remedy in {f"set {one}" for one in own}
    with_initial_policy(settings(policy, *own), tmp_path, lora_asked=True)


def test_another_base_model_is_refused_before_anything_runs_and_a_copy_is_taken(policy: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    build_pipeline().save_pretrained(tmp_path / "other")
    with pytest.raises(PolicyError, match="trained on 'shapes'"):
        with_initial_policy(settings(policy, f"model.name={tmp_path / 'other'}"), tmp_path, lora_asked=False)
    load_transformer(ModelSettings()).save_pretrained(tmp_path / "copy" / "transformer")
    (tmp_path / "copy" / "model_index.json").write_text('{"_class_name": "StableDiffusion3Pipeline"}')
    with_initial_policy(settings(policy, f"model.name={tmp_path / 'copy'}"), tmp_path, lora_asked=False)


def test_an_adapter_of_another_program_says_what_it_is_and_becomes_a_policy(policy: Path, tmp_path: Path) -> None:
    layer = "lora_unet_transformer_blocks_0_attn_to_q"
    tensors = {"lora_down.weight": torch.ones(4, 128), "lora_up.weight": torch.ones(128, 4), "alpha": torch.tensor(8.0)}
    save_file({f"{layer}.{name}": value for name, value in tensors.items()}, tmp_path / "mine.safetensors")
    taken, words = with_initial_policy(settings(tmp_path / "mine.safetensors"), tmp_path, lora_asked=False)
    assert "adapter in kohya's layout: rank 4, alpha 8, 1 layers" in words
    assert (taken.training.lora.rank, taken.training.lora.alpha) == (4, 8)
    with policy_artifact(tmp_path / "mine.safetensors", ModelSettings()) as folder:
        assert folder is not None
        state = read_policy_state(folder)
        assert state.lora == taken.training.lora
        assert state.provenance["adapter_from"]["layout"] == "kohya"
        adapters = attach_adapters(
            load_transformer(ModelSettings()), folder, taken.training.lora, 0, StableDiffusion3()
        )
        assert adapters.sha256() == state.policy_sha256


def test_the_registry_is_asked_for_an_alias_or_a_version(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    uri = sqlite_uri(tmp_path / "mlflow.db")
    client = open_client(uri)
    experiment = client.create_experiment("here", artifact_location=str(tmp_path / "files"))
    run = client.create_run(experiment)
    client.log_artifacts(run.info.run_id, str(policy), "policy")
    client.create_registered_model("shapes-policy")
    source = f"{run.info.artifact_uri}/policy"
    version = client.create_model_version("shapes-policy", source, run.info.run_id)
    logged = client.create_logged_model(experiment)
    client.log_model_artifacts(logged.model_id, str(policy / "policy"))
    with monkeypatch.context() as environment:  # MLflow looks the logged model up in its own store
        environment.setenv("MLFLOW_TRACKING_URI", uri)
        client.create_model_version("shapes-policy", f"models:/{logged.model_id}", run.info.run_id)
    client.set_registered_model_alias("shapes-policy", "champion", version.version)
    for name in ("models:/shapes-policy@champion", f"models:/shapes-policy/{version.version}"):
        found = find_policy(name, tmp_path)
        assert found.state == read_policy_state(found.path) == read_policy_state(policy)
    assert find_policy("models:/shapes-policy/2", tmp_path).state is None
    lora, _, adapter = find_initial(found.path, ModelSettings())
    assert (lora, adapter) == (SHAPE, None)
    with pytest.raises(TrackingError, match=r"(?i)alias"):
        find_policy("models:/shapes-policy@challenger", tmp_path)
    with pytest.raises(SettingsError, match="not a version of a registered model"):
        find_policy("models:/shapes-policy", tmp_path)


@pytest.mark.parametrize(("value", "words"), [(float("nan"), "not finite"), (9.0, "not those that state.json names")])
def test_generate_refuses_other_weights_than_were_trained(
    policy: Path, tmp_path: Path, generate: Generate, value: float, words: str
) -> None:
    assert generate(str(policy))[0] == 0
    (tmp_path / "out.png").unlink()
    broken = tmp_path / "broken"
    shutil.copytree(policy, broken)
    tensors = read_tensors(broken / "policy" / "adapter_model.safetensors")
    next(iter(tensors.values())).view(-1)[0] = value
    write_tensors(broken / "policy" / "adapter_model.safetensors", tensors)
    for name in (broken, working_folder(tmp_path / "run", broken)):
        status, said = generate(str(name))
        assert (status, words in said) == (2, True)
    assert not (tmp_path / "out.png").exists()


def test_a_base_model_is_refused_for_a_policy_that_has_its_own(policy: Path, generate: Generate) -> None:
    status, said = generate(str(policy), "--base-model", "other")
    assert (status, "--base-model other: is only for --model base" in said) == (2, True)


def test_generate_paints_with_another_programs_adapter(policy: Path, tmp_path: Path, generate: Generate) -> None:
    shutil.copytree(policy / "policy", tmp_path / "theirs")
    assert generate(str(policy))[0] == 0
    expected = (tmp_path / "out.png").read_bytes()
    assert generate(str(tmp_path / "theirs"))[0] == 0
    assert (tmp_path / "out.png").read_bytes() == expected
