"""`make setup` takes whichever Python from 3.11 on the machine has, and says so where it has none; `make audit` says so
where no service can be asked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUITABLE = 'case "$1" in -c) exit 0;; esac; mkdir -p "$4"; echo "$0 $*" > "$4/made_by"'
TOO_OLD = "exit 1"
SHIM_OF_NOTHING = 'echo "command not found" >&2; exit 127'


def make_venv(folder: Path, pythons: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """`make venv` on a machine that has these programs, each a line of shell, and no other Python."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    for name, does in pythons.items():
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    for tool in ("mkdir", "sh"):
        (programs / tool).unlink(missing_ok=True)
        (programs / tool).symlink_to(f"/bin/{tool}")
    command = ["/usr/bin/make", "venv", f"VENV={folder / 'venv'}", *arguments]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHON", "MAKEFLAGS")}
    environment["PATH"] = str(programs)
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("pythons", "chosen"),
    [
        ({"python3": SUITABLE, "python3.13": SUITABLE}, "python3"),
        ({"python3": TOO_OLD, "python3.13": SUITABLE, "python3.11": SUITABLE}, "python3.13"),
        ({"python3.13": SHIM_OF_NOTHING, "python3.12": SUITABLE}, "python3.12"),
        ({"python3": TOO_OLD, "python3.11": SUITABLE}, "python3.11"),
    ],
)
def test_the_first_python_that_will_do_makes_the_environment(
    tmp_path: Path, pythons: dict[str, str], chosen: str
) -> None:
    done = make_venv(tmp_path, pythons)
    assert done.returncode == 0, done.stderr
    made_by = (tmp_path / "venv" / "made_by").read_text().split()
    assert made_by == [str(tmp_path / "bin" / chosen), "-m", "venv", "--clear", str(tmp_path / "venv")]


def test_a_machine_without_one_is_told_what_to_install(tmp_path: Path) -> None:
    done = make_venv(tmp_path, {"python3": TOO_OLD})
    assert done.returncode != 0
    assert "not a Python 3.11 or later with venv" in done.stderr
    assert "apt-get install python3 python3-venv" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_a_named_python_goes_before_those_on_the_path_and_is_checked_too(tmp_path: Path) -> None:
    done = make_venv(tmp_path, {"python3": SUITABLE, "mine": SUITABLE}, "PYTHON=mine")
    assert done.returncode == 0, done.stderr
    assert "/mine" in (tmp_path / "venv" / "made_by").read_text()
    refused = make_venv(tmp_path, {"python3": SUITABLE, "mine": TOO_OLD}, "PYTHON=mine")
    assert refused.returncode != 0
    assert "mine is not a Python 3.11 or later" in refused.stderr


def test_the_python_of_the_tests_makes_a_real_environment(tmp_path: Path) -> None:
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    done = make_venv(tmp_path, {}, f"PYTHON={base}")
    assert done.returncode == 0, done.stderr
    version = subprocess.run([tmp_path / "venv/bin/python", "-m", "pip", "--version"], check=False, capture_output=True)
    assert version.returncode == 0


@pytest.mark.parametrize("required", ["0", "1"])
def test_an_audit_that_can_ask_nobody_says_so_and_fails_where_it_is_required(required: str) -> None:
    away = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environment = {**os.environ, **away, "no_proxy": "", "NO_PROXY": "", "REQUIRE_AUDIT": required}
    done = subprocess.run([ROOT / ".ci" / "audit"], env=environment, capture_output=True, text=True, check=False)
    assert "the packages are not audited" in done.stdout
    assert done.returncode == int(required)
