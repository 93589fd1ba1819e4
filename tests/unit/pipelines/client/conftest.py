"""A server to ask, and the command line that asks it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kfp_stub.server import KfpStub, serving

from advantageflow_pipelines import cli
from advantageflow_pipelines.client import follow

Command = Callable[..., tuple[int, str, str]]
_VARIABLES = (
    "KF_PIPELINES_ENDPOINT", "KF_PIPELINES_UI_ENDPOINT", "KF_PIPELINES_DEFAULT_EXPERIMENT_NAME",
    "KF_PIPELINES_SA_TOKEN_PATH", "ADVANTAGEFLOW_KFP_TOKEN", "ADVANTAGEFLOW_KFP_TOKEN_FILE", "ADVANTAGEFLOW_KFP_COOKIE",
    "ADVANTAGEFLOW_KFP_COOKIE_FILE", "ADVANTAGEFLOW_KFP_NAMESPACE", "ADVANTAGEFLOW_KFP_CA_FILE", "http_proxy",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No server, credentials or settings of the developer's."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(follow, "POLL_SECONDS", 0.01)


@pytest.fixture
def server() -> Iterator[KfpStub]:
    """A server with a single user, which must not get a request that its description does not allow."""
    with serving() as stub:
        yield stub
    assert not stub.violations


@pytest.fixture
def shared_server() -> Iterator[KfpStub]:
    """A server with several users."""
    with serving(several_users=True) as stub:
        yield stub
    assert not stub.violations


@pytest.fixture
def advantageflow(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Run a command in an empty folder; gives its exit status and what it printed."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["advantageflow", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        shown = capsys.readouterr()
        return int(left.value.code or 0), shown.out, shown.err

    return run
