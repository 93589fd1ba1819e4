"""Warm workers: forked processes that compute what cold ones do, and live and die with their task."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from advantageflow.warm import PRELOADED, WarmError, WarmTemplate, run_in_worker

pytestmark = pytest.mark.skipif(not WarmTemplate.supported(), reason="warm workers need Linux")

WORK = """
import hashlib, os, sys, time
from pathlib import Path

def compute(out):
    import torch
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(3)
    layer = torch.nn.Linear(64, 64)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(64, 64, generator=generator))
        layer.bias.zero_()
    x = torch.randn(256, 64, generator=generator)
    loss = torch.nn.functional.silu(layer(x)).square().mean()
    loss.backward()
    Path(out).write_bytes(layer.weight.grad.numpy().tobytes())

def report(out):
    print("to stdout"); print("to stderr", file=sys.stderr)
    Path(out).write_text(f"{os.getcwd()} {os.environ.get('COLOUR')} {os.environ.get('GONE')} {sys.stdin.read()!r}")

def leave(status):
    sys.exit(status)

def fail():
    raise RuntimeError("no luck")

def die():
    os.kill(os.getpid(), 9)

def wait(started, seconds):
    Path(started).write_text(str(os.getpid()))
    time.sleep(seconds)
"""  # fmt: skip
CLIENT = """
import json, sys
from pathlib import Path
from advantageflow.warm import run_in_worker
sys.exit(run_in_worker(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])))
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    (folder / "warm_work.py").write_text(textwrap.dedent(WORK))
    return folder


@pytest.fixture(scope="module")
def python_path(work: Path) -> str:
    return os.pathsep.join([str(work), *filter(None, sys.path)])


@pytest.fixture(scope="module")
def template(work: Path, python_path: str) -> Iterator[WarmTemplate]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", python_path)
        patch.setenv("GONE", "set for the template only")
        started = WarmTemplate(work / "warm.log", preload=["torch", "pyarrow.parquet"])
        started.__enter__()
    yield started
    started.__exit__(None, None, None)


def client(
    template: WarmTemplate, function: str, arguments: dict[str, object], env: dict[str, str], cwd: Path | None = None
) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CLIENT, str(template.socket), f"warm_work:{function}", json.dumps(arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, cwd=cwd)


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.05)
    return False


def running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_warm_worker_computes_the_same_bits_as_a_cold_process(
    template: WarmTemplate, python_path: str, tmp_path: Path
) -> None:
    cold = [sys.executable, "-c", f"import warm_work; warm_work.compute({str(tmp_path / 'cold')!r})"]
    subprocess.run(cold, check=True, env={**os.environ, "PYTHONPATH": python_path})
    for name in ("warm", "again"):
        run_in_worker(template.socket, "warm_work:compute", {"out": str(tmp_path / name)})
    assert (tmp_path / "cold").stat().st_size == 64 * 64 * 4
    assert (tmp_path / "warm").read_bytes() == (tmp_path / "cold").read_bytes()
    assert (tmp_path / "again").read_bytes() == (tmp_path / "cold").read_bytes()


def test_the_template_has_a_single_thread_to_fork_from(template: WarmTemplate, work: Path) -> None:
    run_in_worker(template.socket, "warm_work:leave", {"status": 0})
    assert os.listdir(f"/proc/{template.process_id}/task") == [str(template.process_id)]
    assert (work / "warm.log").read_text() == ""


@pytest.mark.slow
def test_all_that_stages_need_can_be_imported_without_starting_a_thread(tmp_path: Path) -> None:
    with WarmTemplate(tmp_path / "warm.log") as template:
        run_in_worker(template.socket, "time:time", {})
        assert os.listdir(f"/proc/{template.process_id}/task") == [str(template.process_id)]
    assert "warning" not in (tmp_path / "warm.log").read_text()


GPU_MACHINE = """
import os
import torch

def answering(name):
    def answer(*_):
        with open(os.environ["ASKED"], "a") as file:
            print(name, file=file)
        return 1
    return answer

torch._C._accelerator_getAccelerator = lambda: torch.device("cuda")
torch._C._cuda_getDeviceCount = answering("driver")
torch._C._cuda_init = torch._C._cuda_getCurrentRawStream = answering("more than a count")
torch.cuda._raw_device_count_nvml = answering("nvml")
"""


@pytest.mark.slow
@pytest.mark.parametrize(("through_nvml", "asked"), [(True, {"nvml"}), (False, {"driver"})])
def test_nothing_preloaded_reaches_the_driver_of_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, through_nvml: bool, asked: set[str]
) -> None:
    """The template as it is, on a torch that says it was built for CUDA; without the variable the driver is asked."""
    (tmp_path / "gpu_machine.py").write_text(GPU_MACHINE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, sys.path)]))
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    if not through_nvml:
        monkeypatch.setattr("advantageflow.warm.NO_DRIVER", {})
    with WarmTemplate(tmp_path / "warm.log", preload=["gpu_machine", *PRELOADED]) as template:
        assert run_in_worker(template.socket, "time:time", {}) == 0, (tmp_path / "warm.log").read_text()
    assert set((tmp_path / "asked").read_text().split()) == asked


def test_a_worker_has_the_tasks_folder_environment_and_output(
    template: WarmTemplate, python_path: str, tmp_path: Path
) -> None:
    environment = {**os.environ, "PYTHONPATH": python_path, "COLOUR": "teal"}
    environment.pop("GONE", None)
    task = client(template, "report", {"out": "out"}, cwd=tmp_path, env=environment)
    stdout, stderr = task.communicate(timeout=60)
    assert (task.returncode, stdout, stderr) == (0, "to stdout\n", "to stderr\n")
    assert (tmp_path / "out").read_text() == f"{tmp_path} teal None ''"


def test_a_worker_gives_back_its_exit_status_error_or_signal(
    template: WarmTemplate, python_path: str, tmp_path: Path
) -> None:
    assert run_in_worker(template.socket, "warm_work:leave", {"status": 2}) == 2
    with pytest.raises(WarmError, match="worker process was killed"):
        run_in_worker(template.socket, "warm_work:die", {})
    failing = client(template, "fail", {}, env={**os.environ, "PYTHONPATH": python_path})
    assert "RuntimeError: no luck" in failing.communicate(timeout=60)[1]
    assert failing.returncode == 1


def test_two_workers_run_at_the_same_time(template: WarmTemplate, python_path: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": python_path}
    starts = [tmp_path / "first", tmp_path / "second"]
    tasks = [client(template, "wait", {"started": str(start), "seconds": 60}, env=environment) for start in starts]
    assert wait_for(lambda: all(start.exists() for start in starts))
    assert run_in_worker(template.socket, "warm_work:leave", {"status": 5}) == 5
    for task in tasks:
        task.kill()
        task.communicate()


def test_a_worker_is_killed_with_its_task(template: WarmTemplate, python_path: str, tmp_path: Path) -> None:
    start = tmp_path / "start"
    environment = {**os.environ, "PYTHONPATH": python_path}
    task = client(template, "wait", {"started": str(start), "seconds": 60}, env=environment)
    assert wait_for(lambda: start.exists() and start.read_text())
    worker = int(start.read_text())
    assert running(worker)
    task.terminate()
    task.communicate()
    assert wait_for(lambda: not running(worker))


def test_the_template_and_its_workers_end_with_the_process_that_started_it(
    work: Path, python_path: str, tmp_path: Path
) -> None:
    starter = f"""
import sys, time
from pathlib import Path
from advantageflow.warm import WarmTemplate
template = WarmTemplate(Path({str(tmp_path / "log")!r}), preload=["json"]).__enter__()
print(template.process_id, template.socket, flush=True)
time.sleep(60)
"""
    environment = {**os.environ, "PYTHONPATH": python_path}
    parent = subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    process, path = parent.stdout.readline().split()
    start = tmp_path / "start"
    command = [sys.executable, "-c", CLIENT, path, "warm_work:wait", json.dumps({"started": str(start), "seconds": 60})]
    task = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    assert wait_for(lambda: start.exists() and start.read_text())
    parent.kill()
    parent.communicate()
    assert wait_for(lambda: not running(int(start.read_text())) and not running(int(process)))
    assert "the worker process was killed" in task.communicate(timeout=20)[1]


def test_a_dead_template_is_a_clear_error_not_a_wait(tmp_path: Path) -> None:
    with pytest.raises(WarmError, match=r"does not answer.*\n.*warm\.log"):
        run_in_worker(tmp_path / "no.sock", "warm_work:leave", {"status": 0})
    broken = WarmTemplate(tmp_path / "log", preload=["no_such_module"])
    with broken as template, pytest.raises(WarmError):
        run_in_worker(template.socket, "warm_work:leave", {"status": 0})
    assert "No module named 'no_such_module'" in (tmp_path / "log").read_text()
    assert not template.socket.exists()


def test_a_socket_path_stays_short_where_the_temporary_folder_is_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with WarmTemplate(tmp_path / "log", preload=["json"]) as template:
        assert len(str(template.socket)) < 100
        assert template.environment == {"ADVANTAGEFLOW_WARM": str(template.socket)}
