"""A PostgreSQL server, an S3 server, and between them MLflow as the manifest starts it, on a read-only root."""

from __future__ import annotations

import glob
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Overlay

SECONDS = 90


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def wait_for(ready: Callable[[], bool], process: subprocess.Popen[str], log: Path) -> None:
    """Until it is ready; fail with its log when it ends before, or never is."""
    limit = time.monotonic() + SECONDS
    while not ready():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < limit, log.read_text()
        time.sleep(0.1)


def listens(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


@dataclass(frozen=True)
class Container:
    """A container of a rendered pod, run as a process.

    Attributes:
        manifest: the container's.
        environment: what it sets, with its references followed.
        writable: paths where volumes are mounted.
    """

    manifest: dict[str, Any]
    environment: dict[str, str]
    writable: list[str]
    output: Path

    @property
    def command(self) -> list[str]:
        """The command line, its variables replaced as Kubernetes does it."""
        words = [*self.manifest["command"], *self.manifest.get("args", [])]
        return [re.sub(r"\$\((\w+)\)", lambda found: self.environment[found[1]], word) for word in words]

    def start(self) -> subprocess.Popen[str]:
        """Start it: no capabilities, no new privileges, and nothing but its volumes to write to."""
        binds = [f"mount --bind {path} {path}" for path in self.writable]
        script = " && ".join([*binds, "mount -o remount,bind,ro /", 'cd / && exec "$@"'])
        unshare = ["unshare", "--mount", *(["--map-root-user"] if os.getuid() else [])]
        drop = ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        image = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
        with self.output.open("a") as output:
            return subprocess.Popen(
                [*unshare, "sh", "-c", script, "sh", *drop, *self.command],
                env=image | self.environment, text=True, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip


@dataclass
class Database:
    """A PostgreSQL server with the database that the StatefulSet makes.

    Attributes:
        programs: folder of its programs.
        environment: PG* variables by which clients find it.
        start: starts the server again after it was stopped.
    """

    programs: str
    environment: dict[str, str]
    process: subprocess.Popen[str]
    start: Callable[[], subprocess.Popen[str]]


@pytest.fixture(scope="session")
def database(overlays: dict[str, Overlay], secrets: dict[tuple[str, str], dict[str, str]]) -> Iterator[Database]:
    programs = shutil.which("initdb") or next(iter(glob.glob("/usr/lib/postgresql/*/bin/initdb")), None)
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    programs = os.path.dirname(os.path.realpath(programs))
    user = "nobody" if os.getuid() == 0 else None  # PostgreSQL refuses to run as root
    [manifest] = overlays["kind"].one("StatefulSet", "advantageflow-postgres")["spec"]["template"]["spec"]["containers"]
    settings = {entry["name"]: entry["value"] for entry in manifest["env"] if "value" in entry}
    secret, port = secrets["advantageflow", "advantageflow-postgres"], free_port()
    folder = Path(tempfile.mkdtemp(prefix="advantageflow-postgres-"))
    log = folder / "log"
    log.touch()
    password = folder / "password"
    password.write_text(secret["password"])
    for path in (folder, password, log):
        shutil.chown(path, user or os.getuid())

    def run(*command: str, **options: Any) -> subprocess.Popen[str]:
        words = [f"{programs}/{command[0]}", *command[1:]]
        with log.open("a") as output:
            return subprocess.Popen(words, text=True, stdout=output, stderr=output, cwd=folder, **options)

    def start() -> subprocess.Popen[str]:
        options = ["-h", "127.0.0.1", "-p", str(port), "-k", str(folder), "-c", "fsync=off"]
        process = run("postgres", "-D", f"{folder}/data", *options, user=user)
        wait_for(lambda: listens(port), process, log)
        return process

    made = run(
        "initdb", "-D", f"{folder}/data", f"--username={secret['username']}", f"--pwfile={password}",
        *settings["POSTGRES_INITDB_ARGS"].split(), user=user,
    )  # fmt: skip
    assert made.wait(SECONDS) == 0, log.read_text()
    login = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": secret["username"], "PGPASSWORD": secret["password"]}
    found = Database(programs, login, start(), start)
    assert run("createdb", settings["POSTGRES_DB"], env=os.environ | login).wait(SECONDS) == 0, log.read_text()
    yield found
    found.process.send_signal(signal.SIGINT)
    found.process.wait(SECONDS)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an S3 server, a process of its own."""
    port, log = free_port(), tmp_path_factory.mktemp("s3") / "log"
    with log.open("w") as output:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, text=True, stdout=output, stderr=output)
    wait_for(lambda: listens(port), process, log)
    yield f"http://localhost:{port}"
    process.terminate()
    process.wait(SECONDS)


@dataclass
class Pod:
    """MLflow's pod.

    Attributes:
        port: where its port http is to be found here.
        process: the server's.
        migrated_again: the first container a second time, as of a pod that starts again.
    """

    migrate: Container
    server: Container
    port: int
    process: subprocess.Popen[str]
    migrated_again: subprocess.Popen[str]

    def get(self, path: str, host: str | None = None) -> int:
        """Status of the reply to a GET; 0 when there is none."""
        headers = {"Host": host} if host else {}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=15) as reply:
                return int(reply.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def probe(self, name: str) -> bool:
        """Whether a probe of the manifest succeeds, as the kubelet sees it."""
        get = self.server.manifest[name]["httpGet"]
        headers = {header["name"]: header["value"] for header in get.get("httpHeaders", [])}
        return 200 <= self.get(get["path"], headers.get("Host")) < 400


@pytest.fixture(scope="session")
def pod(
    overlays: dict[str, Overlay],
    secrets: dict[tuple[str, str], dict[str, str]],
    database: Database,
    object_store: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pod]:
    """The pod of overlay kind, ready. Only addresses and the port differ from what the manifest says."""
    if subprocess.run(["unshare", "--mount", *(["--map-root-user"] if os.getuid() else []), "true"]).returncode:
        pytest.skip("no mount namespaces here, in which a root file system could be read-only")
    overlay, port, folder = overlays["kind"], free_port(), tmp_path_factory.mktemp("mlflow")
    spec = overlay.one("Deployment", "advantageflow-mlflow")["spec"]["template"]["spec"]
    here = {"PGHOST": database.environment["PGHOST"], "PGPORT": database.environment["PGPORT"]}
    here |= {"AWS_ENDPOINT_URL_S3": object_store, "MLFLOW_PORT": str(port)}

    def container(manifest: dict[str, Any]) -> Container:
        environment: dict[str, str] = {}
        for source in manifest.get("envFrom", []):
            if "secretRef" in source:
                environment |= secrets["advantageflow", source["secretRef"]["name"]]
            else:
                environment |= overlay.one("ConfigMap", source["configMapRef"]["name"])["data"]
        for entry in manifest["env"]:
            secret = entry.get("valueFrom", {}).get("secretKeyRef")
            environment[entry["name"]] = (
                secrets["advantageflow", secret["name"]][secret["key"]] if secret else entry["value"]
            )
        environment |= {name: value for name, value in here.items() if name in environment}
        writable = [mount["mountPath"] for mount in manifest["volumeMounts"]]
        return Container(manifest, environment, writable, folder / manifest["name"])

    [first], [second] = spec["initContainers"], spec["containers"]
    migrate, server = container(first), container(second)
    assert migrate.start().wait(SECONDS) == 0, migrate.output.read_text()
    running = Pod(migrate, server, port, server.start(), migrate.start())
    wait_for(lambda: running.probe("readinessProbe"), running.process, server.output)
    yield running
    if running.process.poll() is None:
        running.process.terminate()
        running.process.wait(SECONDS)
