"""Publishing a policy from the command line, and naming a published policy where a policy folder is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer

from advantageflow.policy.adapters import attach_adapters
from advantageflow.policy.families.stable_diffusion_3 import StableDiffusion3
from advantageflow.policy.loading import load_transformer
from advantageflow.prompts.initial_policy import write_base_policy
from advantageflow.settings import LoraSettings, ModelSettings, TrainingSettings
from advantageflow.store.files import publish
from advantageflow.store.policies import read_policy_state
from advantageflow.store.published import is_published, publish_folder
from advantageflow_pipelines.configuration.checks import check_run
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.local.policies import find_policy

Command = Callable[..., tuple[int, str, str]]


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


def test_a_published_policy_is_taken_wherever_a_policy_is(policy: Path, tmp_path: Path, advantageflow: Command) -> None:
    address = str(tmp_path / "shared" / "policy")
    status, out, _ = advantageflow("publish", str(policy), address)
    assert (status, "trained after round 3" in out) == (0, True)
    found = find_policy(address)
    assert (found.name, found.state) == (f"policy {address} after round 3", read_policy_state(policy))
    shape = ["training.lora.rank=2", "training.lora.alpha=2"]
    check_run(choose_settings(preset="tiny", assignments=shape, init_policy=address))


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """Address of an S3 bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "k",
                        "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "us-east-1",
                        "XDG_CACHE_HOME": str(tmp_path / "cache")}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="bucket")
    yield "s3://bucket"
    server.stop()


def test_a_run_on_a_cluster_takes_the_shape_of_the_published_policy_that_it_starts_from(
    policy: Path, store: str, tmp_path: Path, advantageflow: Command
) -> None:
    publish_folder(policy, f"{store}/policy")
    to_compile = ("compile", "--preset", "tiny", "--image", "stage:1", "--init-policy")
    status, out, err = advantageflow(*to_compile, f"{store}/policy")
    assert (status, err) == (0, "")
    assert "training.lora is set to these" in out
    parameters = next(yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text()))["root"]["inputDefinitions"]
    defaults = {name: one["defaultValue"] for name, one in parameters["parameters"].items()}
    lora = TrainingSettings.model_validate_json(defaults["training_settings"]).lora
    assert (lora.rank, lora.alpha, defaults["init_policy"]) == (2, 2, f"{store}/policy")

    status, _, err = advantageflow(*to_compile, f"{store}/policy", "--set", "training.lora.rank=8")
    assert status == 2
    assert "the settings ask for rank 8" in err

    status, out, _ = advantageflow(*to_compile, f"{store}/not-published-yet")
    assert status == 0
    assert "training.lora is not compared with the initial policy's" in out


def test_a_damaged_policy_is_not_published(policy: Path, tmp_path: Path, advantageflow: Command) -> None:
    broken = tmp_path / "broken"
    with publish(broken) as partial:
        for file in policy.rglob("*"):
            if file.is_file():
                (partial / file.relative_to(policy)).parent.mkdir(exist_ok=True)
                (partial / file.relative_to(policy)).write_bytes(file.read_bytes())
        (partial / "policy" / "adapter_model.safetensors").write_bytes(b"short")
    assert advantageflow("publish", str(broken), str(tmp_path / "shared"))[0] == 2
    assert not is_published(str(tmp_path / "shared"))
