"""The MLflow manifest's own command line, on a real PostgreSQL and a real S3 server."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import signal
import socket
import subprocess
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import mlflow
import numpy as np
import psycopg
import pytest
from mlflow import MlflowClient
from mlflow_published import SETTINGS, everything, write_journals
from PIL import Image
from random_policy import write_policy
from registered import concluded, pipeline_run, registration

from advantageflow.policy.generate import draw_texts
from advantageflow.settings import EvaluationSettings, ModelSettings, RewardSettings
from advantageflow.tracking.champion import Superseded, change_champion
from advantageflow.tracking.events import read_events
from advantageflow.tracking.promotion import conclude
from advantageflow.tracking.publisher import Publisher
from advantageflow.tracking.registry import local_policy

if TYPE_CHECKING:
    from conftest import Database, Overlay, Pod

pytestmark = pytest.mark.slow

QUESTION = "/api/2.0/mlflow/experiments/search?max_results=1"


@pytest.fixture
def client(pod: Pod, overlays: dict[str, Overlay], monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A client with the address that the runs' config map gives; only the name is looked up here."""
    uri = overlays["kind"].one("ConfigMap", "advantageflow", "kubeflow")["data"]["MLFLOW_TRACKING_URI"]
    service = urllib.parse.urlsplit(uri)
    look_up = socket.getaddrinfo

    def here(host: Any, port: Any, *more: Any, **named: Any) -> Any:
        if (host, port) == (service.hostname, service.port):
            host, port = "127.0.0.1", pod.port
        return look_up(host, port, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", here)
    return MlflowClient(uri)


def test_a_run_goes_to_postgresql_its_pictures_and_files_to_s3_and_all_comes_back(
    client: MlflowClient, pod: Pod, database: Database, object_store: str, tmp_path: Path
) -> None:
    place = urllib.parse.urlsplit(pod.server.environment["MLFLOW_ARTIFACTS_DESTINATION"])
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "verysecret", "region_name": "us-east-1"}
    s3 = boto3.client("s3", endpoint_url=object_store, **keys)
    s3.create_bucket(Bucket=place.netloc)
    weights = bytes(range(256)) * 64
    (tmp_path / "adapter.safetensors").write_bytes(weights)

    run = client.create_run(client.create_experiment("cluster"))
    client.log_metric(run.info.run_id, "reward/mean", 0.25, step=1)
    client.log_metric(run.info.run_id, "reward/mean", 0.75, step=2)
    client.log_image(run.info.run_id, Image.new("RGB", (4, 4), "red"), key="samples/prompt_0", step=2)
    client.log_artifact(run.info.run_id, str(tmp_path / "adapter.safetensors"), "policy")
    client.set_terminated(run.info.run_id)

    history = client.get_metric_history(run.info.run_id, "reward/mean")
    assert [(metric.step, metric.value) for metric in history] == [(1, 0.25), (2, 0.75)]
    back = client.download_artifacts(run.info.run_id, "policy/adapter.safetensors", str(tmp_path))
    assert Path(back).read_bytes() == weights
    assert run.info.artifact_uri.startswith("mlflow-artifacts:")  # through the server: clients need no key
    with psycopg.connect(**_login(database)) as connection:
        rows = connection.execute("SELECT status FROM runs WHERE run_uuid = %s", [run.info.run_id]).fetchall()
        values = connection.execute("SELECT value FROM metrics WHERE run_uuid = %s ORDER BY step", [run.info.run_id])
        assert (rows, values.fetchall()) == ([("FINISHED",)], [(0.25,), (0.75,)])
    listed = s3.list_objects_v2(Bucket=place.netloc, Prefix=place.path.lstrip("/") + "/")["Contents"]
    names = [entry["Key"].partition(f"{run.info.run_id}/artifacts/")[2] for entry in listed]
    assert "policy/adapter.safetensors" in names
    assert {Path(name).suffix for name in names if name.startswith("images/")} >= {".png"}


def test_policies_are_registered_on_postgresql_and_of_two_at_once_one_becomes_champion(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for number in "123":
        concluded(client, tmp_path / number, number * 64, decision=None)
    change_champion(client, "tuned", None, "1", "first")

    def promote(version: str) -> bool:
        with contextlib.suppress(Superseded):
            return bool(change_champion(client, "tuned", "1", version, "at once"))
        return False

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(promote, "23")) == [False, True]
    fetched = local_policy("models:/tuned@champion", client.tracking_uri)
    assert (fetched / "policy" / "adapter_model.safetensors").read_text() in ("2" * 64, "3" * 64)


def test_a_registered_policy_draws_what_its_run_would_wherever_it_is_loaded(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, sampling = ModelSettings(), EvaluationSettings(steps=2, threads=1)
    sections = {"model": model.model_dump(mode="json"), "reward": RewardSettings().model_dump(mode="json")}
    write_policy(tmp_path / "policy", model, sections)
    what = registration(tmp_path, "a" * 64)
    what.path, what.sampling = tmp_path / "policy", sampling
    monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
    conclude(client, pipeline_run(client, "drawing"), "drawing", what)
    loaded = mlflow.pyfunc.load_model("models:/drawing@champion")
    [picture] = loaded.predict(["a red circle"], params={"seed": 7})
    with Image.open(io.BytesIO(base64.b64decode(picture))) as drawn:
        [wanted] = draw_texts(model, what.path, ["a red circle"], [7], sampling)
        assert np.array_equal(np.asarray(drawn), wanted)
    assert [one.name for one in loaded.metadata.get_params_schema().params] == ["seed", "steps", "guidance_scale"]
    assert loaded.metadata.saved_input_example_info


def test_eight_runs_at_once_give_no_error_and_lose_no_record(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADVANTAGEFLOW_JOURNAL", str(tmp_path / "journal"))
    write_journals(tmp_path)
    events = read_events(tmp_path / "journal")

    def run(_: int) -> str:
        publisher = Publisher(client.tracking_uri, "eight", "shapes-1", SETTINGS, {})
        publisher.consume(events)
        publisher.close()  # which raises where one record was refused
        return publisher.run_id

    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(run, range(8)))
    first, *others = [everything(client, client.get_run(one)) for one in runs]
    assert others == [first] * 7
    assert len(first) > 20


def test_it_answers_to_its_own_names_and_to_no_other(pod: Pod) -> None:
    name = "advantageflow-mlflow"
    for end in ("", ".advantageflow", ".advantageflow.svc", ".advantageflow.svc.cluster.local"):
        assert pod.get(QUESTION, f"{name}{end}:5000") == 200
    assert pod.get(QUESTION, "localhost:15000") == 200  # a port-forward from any port
    for host in ("attacker.example", f"{name}.attacker.example:5000", "10.0.0.7:5000", f"{name}:80", "localhost.x:1"):
        assert pod.get(QUESTION, host) == 403, host


def test_the_readiness_probe_sees_what_health_does_not(pod: Pod, database: Database) -> None:
    assert pod.probe("readinessProbe")
    assert pod.probe("startupProbe")
    path = pod.server.manifest["readinessProbe"]["httpGet"]["path"]
    assert (pod.get(path, "attacker.example"), pod.get("/health", "attacker.example")) == (403, 200)
    database.process.send_signal(signal.SIGINT)  # as a pod that is deleted
    database.process.wait(60)
    try:
        assert not pod.probe("readinessProbe")
        assert pod.probe("livenessProbe"), "a restart of MLflow would not bring the database back"
    finally:
        database.process = database.start()
    assert any(pod.probe("readinessProbe") or time.sleep(1) for _ in range(30)), "it finds the database by itself again"


def test_the_databases_own_probe_knows_whether_it_is_there(database: Database, overlays: dict[str, Overlay]) -> None:
    [postgres] = overlays["kind"].one("StatefulSet", "advantageflow-postgres")["spec"]["template"]["spec"]["containers"]
    [program, *arguments] = postgres["readinessProbe"]["exec"]["command"]
    command = [f"{database.programs}/{program}", *arguments]
    here = os.environ | {"PGPORT": database.environment["PGPORT"]}
    assert subprocess.run(command, env=here, check=False).returncode == 0
    assert subprocess.run(command, env=here | {"PGPORT": "1"}, check=False).returncode == 2


def test_a_pod_that_starts_again_migrates_a_database_that_is_there(pod: Pod) -> None:
    assert pod.migrated_again.wait(60) == 0, pod.migrate.output.read_text()


def test_no_password_is_in_a_command_line_or_in_the_log(pod: Pod) -> None:
    processes = [line for line in Path("/proc").glob("[0-9]*/cmdline") if _session(line.parent) == pod.process.pid]
    words = b" ".join(line.read_bytes() for line in processes)
    assert b"--allowed-hosts=advantageflow-mlflow:5000," in words
    words += " ".join(pod.migrate.command).encode()
    logs = pod.server.output.read_text() + pod.migrate.output.read_text()
    for name in ("PGPASSWORD", "AWS_SECRET_ACCESS_KEY"):
        secret = pod.server.environment[name]
        assert secret.encode() not in words
        assert secret not in logs


def test_its_root_file_system_is_read_only_indeed(pod: Pod) -> None:
    view = Path(f"/proc/{pod.process.pid}/mountinfo").read_text().splitlines()
    options = {line.split()[4]: line.split()[5].split(",") for line in view}
    assert "ro" in options["/"]
    assert all("rw" in options[path] for path in pod.server.writable)
    status = Path(f"/proc/{pod.process.pid}/status").read_text()
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status


def test_it_ends_in_the_time_that_kubernetes_gives_it(pod: Pod) -> None:
    pod.process.terminate()
    try:
        pod.process.wait(30)
    except subprocess.TimeoutExpired:
        pytest.fail("still there after 30 seconds")
    assert not any(_session(line.parent) == pod.process.pid for line in Path("/proc").glob("[0-9]*/cmdline"))


def _login(database: Database) -> dict[str, Any]:
    given = database.environment
    return {"host": given["PGHOST"], "port": given["PGPORT"], "user": given["PGUSER"],
            "password": given["PGPASSWORD"], "dbname": "mlflow"}  # fmt: skip


def _session(process: Path) -> int:
    """The session of a process; 0 if it is gone."""
    try:
        return os.getsid(int(process.name))
    except ProcessLookupError:
        return 0
