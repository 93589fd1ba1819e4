"""What all tests share: the option that renews golden files, and packages that child processes can import."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Generator, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

_ROOT = Path(__file__).resolve().parent.parent
_TRACKING = ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "ADVANTAGEFLOW_JOURNAL")
_SECONDS_OF_A_THREAD = 5  # one that waits for a server that hangs is left alone


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write golden files anew instead of comparing")


def pytest_configure() -> None:
    """Let processes that tests start find the packages too, whether they are installed or not."""
    roots = [str(_ROOT / "components"), str(_ROOT / "pipelines"), str(_ROOT / "experiments")]
    paths = [*roots, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a background shell; child processes would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in _TRACKING:
        os.environ.pop(name, None)  # a developer's own tracking is not the tests' to write to


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """A thread that a test leaves behind imports nothing after it: pytest goes through all loggers between tests, and
    fails the next test if one is made meanwhile."""
    try:
        return (yield)
    finally:
        for thread in threading.enumerate():
            if thread.name == "mlflow":
                thread.join(_SECONDS_OF_A_THREAD)


@pytest.fixture(autouse=True)
def tracking_environment_left_alone() -> Iterator[None]:
    """No test, and nothing that it calls, says for those after it where runs are recorded (as `mlflow.set_tracking_uri`
    does, through the environment)."""
    before = {name: os.environ.get(name) for name in _TRACKING}
    yield
    after = {name: os.environ.get(name) for name in _TRACKING}
    for name, value in before.items():
        os.environ.pop(name, None)
        os.environ.update({name: value} if value is not None else {})
    assert after == before


@pytest.fixture(autouse=True)
def numbers_drawn_the_same_every_time() -> None:
    """A test that draws random numbers draws the same ones on every machine."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be written anew."""
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture(scope="session")
def stage_imports() -> ModuleType:
    """The file beside this one, which is no package."""
    spec = spec_from_file_location("stage_imports", _ROOT / "tests" / "stage_imports.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
