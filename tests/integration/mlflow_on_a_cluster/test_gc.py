"""`advantageflow gc`: what goes of old runs, of a store and of the registry, and what never does."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from registered import DECISION, concluded

from advantageflow.records import METRICS_FILE
from advantageflow.settings import LoraSettings, RunSettings
from advantageflow.store.files import write_json
from advantageflow.store.policies import PolicyState
from advantageflow.store.published import is_published, publish_folder
from advantageflow.tracking.registry import local_policy
from advantageflow_pipelines import cli
from advantageflow_pipelines.local.summary import SHOWN
from advantageflow_pipelines.local.workdir import WorkDir, create_workdir

pytestmark = pytest.mark.slow

OLD = time.time() - 40 * 86_400


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


def gc(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["advantageflow", "gc", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert not left.value.code
    return capsys.readouterr().out


def age(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (OLD, OLD))


def old_run(name: str, sha256: str) -> WorkDir:
    """A complete run of long ago."""
    workdir = create_workdir(Path("runs", name), RunSettings(preset="tiny", rounds=1))
    made = workdir.artifacts / "advantageflow-online-then"
    policy, report = made / "training" / "new_policy", made / "evaluation" / "report"
    for folder in (policy, report, made / "training" / "new_policy_optimiser", made / "rollout" / "rollouts"):
        folder.mkdir(parents=True)
        (folder / "content").write_bytes(b"x" * 1000)
    PolicyState(round=1, step=1, lora=LoraSettings(), policy_sha256=sha256).write(policy)
    write_json(report / METRICS_FILE, {"round": 1})
    write_json(workdir.summary_file, {**dict.fromkeys(SHOWN), "policy_sha256": sha256})
    age(workdir.root)
    return workdir


def left_of(workdir: WorkDir) -> set[str]:
    return {path.parent.name for path in workdir.artifacts.rglob("content")}


def test_old_artifacts_go_and_reports_registered_policies_and_the_last_policy_that_nobody_has_stay(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    concluded(client, tmp_path / "made", "c" * 64, decision=None)
    registered, alone, recent = old_run("registered", "c" * 64), old_run("alone", "d" * 64), old_run("recent", "e" * 64)
    os.utime(recent.summary_file)
    for name in ("c" * 12, "d" * 12):
        publish_folder(registered.artifacts, f"store/policies/round-001-{name}")
    publish_folder(registered.artifacts, "store/checkpoints/now")
    age(tmp_path / "store" / "policies")

    everything = ("--newest", "0", "--store", "store")
    said = gc(monkeypatch, capsys, *everything)
    assert "would go" in said
    assert len(left_of(registered)) == 4, "nothing goes without --delete"
    gc(monkeypatch, capsys, *everything, "--delete")
    assert left_of(registered) == {"report"}
    assert left_of(alone) == {"report", "new_policy", "new_policy_optimiser"}
    assert len(left_of(recent)) == 4
    there = {name: is_published(f"store/{name}") for name in ("policies/round-001-" + "c" * 12, "checkpoints/now")}
    assert all(there.values()), there
    assert not is_published("store/policies/round-001-" + "d" * 12)
    assert "nothing to remove" in gc(monkeypatch, capsys, *everything)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # and in a folder without runs, where nothing is registered
    monkeypatch.setattr(sys, "argv", ["advantageflow", "gc", *everything, "--delete"])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert "mlflow.db: there is no MLflow store yet" in capsys.readouterr().err


def test_rejected_versions_go_and_champions_present_and_former_never_do(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = DECISION | {"reasons": ["no better"]}
    for sha256, decision in (("1", DECISION), ("2", kept)):
        concluded(client, tmp_path / sha256, sha256 * 64, name="swept", decision=decision)
    said = gc(monkeypatch, capsys, "--rejected", "--days", "0")
    assert "models:/swept/2" not in said, "it is the newest candidate"
    concluded(client, tmp_path / "3", "3" * 64, name="swept", decision=DECISION, parent="models:/swept/1")
    gc(monkeypatch, capsys, "--rejected", "--days", "0", "--delete")
    with pytest.raises(MlflowException):
        client.get_model_version("swept", "2")
    for version in ("1", "3"):
        copy = local_policy(f"models:/swept/{version}", client.tracking_uri)
        age(tmp_path / "cache")
        assert "a copy of a registered version" in gc(monkeypatch, capsys, "--delete")
        assert not copy.exists()
        assert local_policy(f"models:/swept/{version}", client.tracking_uri) == copy, "it is fetched again"
