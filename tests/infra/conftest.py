"""The manifests as kubectl renders them, once for each overlay."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

INFRA = Path(__file__).resolve().parents[2] / "infra"
OVERLAYS = ("kind", "single-gpu", "multi-node")
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """A pod that an object makes.

    Attributes:
        owner: kind and name of the object.
        serves: whether it runs until it is stopped, rather than to an end.
    """

    owner: str
    namespace: str
    labels: dict[str, str]
    spec: Manifest
    serves: bool

    @property
    def containers(self) -> list[Manifest]:
        """Containers, with those that run first."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


@dataclass(frozen=True)
class Overlay:
    """What one overlay renders to."""

    name: str
    objects: list[Manifest]

    def all(self, kind: str) -> list[Manifest]:
        """All objects of a kind."""
        return [one for one in self.objects if one["kind"] == kind]

    def one(self, kind: str, name: str, namespace: str | None = None) -> Manifest:
        """The object of this kind and name; a name that ends in * stands for one with a hash at its end."""
        [found] = [
            one
            for one in self.all(kind)
            if (one["metadata"]["name"] == name or (name[-1] == "*" and one["metadata"]["name"].startswith(name[:-1])))
            and namespace in (None, one["metadata"].get("namespace"))
        ]
        return found

    def pods(self) -> Iterator[Pod]:
        """The pods of all objects."""
        for one in self.objects:
            owner, namespace = f"{one['kind']}/{one['metadata']['name']}", one["metadata"].get("namespace", "")
            if one["kind"] in ("Deployment", "StatefulSet"):
                template = one["spec"]["template"]
                yield Pod(owner, namespace, template["metadata"]["labels"], template["spec"], True)
            if one["kind"] == "TrainingRuntime":
                for job in one["spec"]["template"]["spec"]["replicatedJobs"]:
                    template = job["template"]["spec"]["template"]
                    yield Pod(owner, namespace, template["metadata"]["labels"], template["spec"], False)


def kubectl(*arguments: str, **options: Any) -> str:
    """What kubectl prints."""
    done = subprocess.run(["kubectl", *arguments], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def needs_kubectl() -> None:
    """Skip where there is no kubectl, or one whose kustomize is too old; fail there if REQUIRE_KUBECTL is set."""
    lacking = pytest.fail if os.environ.get("REQUIRE_KUBECTL") else pytest.skip
    if shutil.which("kubectl") is None:
        lacking("kubectl is not installed, so nothing of infra/ is tested")
    version = json.loads(kubectl("version", "--client", "--output=json")).get("kustomizeVersion", "none")
    if not version.startswith("v5."):
        lacking(f"kubectl has kustomize {version}, and the manifests need 5")


@pytest.fixture(scope="session")
def overlays(needs_kubectl: None) -> dict[str, Overlay]:
    """All overlays by name."""
    rendered = {name: kubectl("kustomize", str(INFRA / "overlays" / name)) for name in OVERLAYS}
    return {name: Overlay(name, list(yaml.safe_load_all(text))) for name, text in rendered.items()}


@pytest.fixture(scope="session", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest, overlays: dict[str, Overlay]) -> Overlay:
    """Each overlay in turn."""
    return overlays[request.param]


@pytest.fixture(scope="session")
def secrets(needs_kubectl: None, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, str]]:
    """Values of the secrets that infra/secrets.sh makes, by namespace and name."""
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "s3.env").write_text("AWS_ACCESS_KEY_ID=key\nAWS_SECRET_ACCESS_KEY=verysecret\n")
    (folder / "token").write_text("hf_token\n")
    command = [INFRA / "secrets.sh", "--s3", folder / "s3.env", "--hf-token", folder / "token"]
    made = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {
        (one["metadata"]["namespace"], one["metadata"]["name"]): {
            key: base64.b64decode(value).decode() for key, value in one["data"].items()
        }
        for one in yaml.safe_load_all(made)
    }
