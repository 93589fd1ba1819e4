"""Publishing to and fetching from an S3 server that fails: retries succeed, or a clear error and nothing half-done."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from advantageflow.errors import StoreError
from advantageflow.store import s3_client, s3_transfer
from advantageflow.store.published import fetch_published, is_published, publish_folder, remove_published

pytestmark = pytest.mark.fault
URL = "s3://bucket/policies/new"
MIB = 1 << 20
FILES = {"state.json": b'{"round": 1}', "weights.bin": os.urandom(1000) * 5_500}  # the second goes in two parts
PARTS = "weights.bin.*partNumber"


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(s3_transfer, "PART", 5 * MIB)  # the smallest that S3 takes
    folder = tmp_path / "policy"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def unfinished(client: Any) -> list[Any]:
    """Uploads in parts that were neither completed nor aborted: they cost money unseen."""
    uploads: list[Any] = client.list_multipart_uploads(Bucket="bucket").get("Uploads", [])
    return uploads


@pytest.mark.parametrize(
    ("method", "target", "how", "times"),
    [
        ("PUT", PARTS, "status 500", 2),
        ("PUT", PARTS, "status 503", 1),
        ("PUT", PARTS, "cut request", 2),
        ("PUT", PARTS, "cut reply", 2),
        ("PUT", PARTS, "wait 0.3", 2),
        ("PUT", "state.json", "cut request", 2),
        ("POST", "uploads", "status 500", 1),
        ("POST", "uploadId", "status 500", 1),
        ("PUT", "manifest.json", "cut reply", 1),
        ("GET", "list-type", "truncate", 1),
    ],
)
def test_an_upload_survives_what_passes(
    gate: Any, client: Any, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    method: str, target: str, how: str, times: int,
) -> None:  # fmt: skip
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "4")
    gate.fail(method, target, how, times)
    publish_folder(policy, URL)
    assert files_of(fetch_published(URL, tmp_path / "cache")) == FILES
    assert unfinished(client) == []


@pytest.mark.parametrize(
    ("method", "target", "how", "message", "before"),
    [
        ("PUT", PARTS, "status 500", r"S3 answered with an error \(500, HTTP 500\)", False),
        ("PUT", PARTS, "status 503", r"S3 answered with an error \(SlowDown, HTTP 503\)", True),
        ("PUT", PARTS, "cut request", r"http://127\.0\.0\.1:\d+ cannot be reached", False),
        ("PUT", PARTS, "status 400", "XAmzContentSHA256Mismatch", True),  # damaged on the way
        ("PUT", "state.json", "cut request", r"http://127\.0\.0\.1:\d+ cannot be reached", True),
        ("PUT", "manifest.json", "status 503", "SlowDown", True),
        ("PUT", "state.json", "status 507", r"no room left \(507\)", False),
    ],
)
def test_an_upload_that_fails_leaves_nothing_or_what_was_there(
    gate: Any, client: Any, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    method: str, target: str, how: str, message: str, before: bool,
) -> None:  # fmt: skip
    earlier = {"state.json": b"earlier"}
    if before:
        (tmp_path / "earlier").mkdir()
        (tmp_path / "earlier" / "state.json").write_bytes(earlier["state.json"])
        publish_folder(tmp_path / "earlier", URL)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    gate.fail(method, target, how, times=99)
    with pytest.raises(StoreError, match=message) as caught:
        publish_folder(policy, URL)
    assert caught.value.where.startswith(URL)
    assert "run again" in caught.value.remedy
    assert unfinished(client) == []
    if before:
        assert files_of(fetch_published(URL, tmp_path / "cache")) == earlier
    else:
        assert not is_published(URL)


@pytest.mark.parametrize(
    ("method", "target", "how"),
    [
        ("GET", "state.json", "status 500"),
        ("GET", "weights.bin", "cut reply"),
        ("GET", "weights.bin", "wait 0.3"),
        ("GET", "weights.bin", "truncate"),
        ("GET", "weights.bin", "damage reply"),
        ("GET", "manifest.json", "truncate"),
        ("GET", "manifest.json", "cut reply"),
        ("GET", "list-type", "status 503"),
    ],
)
def test_a_download_survives_what_passes(
    gate: Any, client: Any, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    method: str, target: str, how: str,
) -> None:  # fmt: skip
    publish_folder(policy, URL)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    gate.fail(method, target, how, times=1)
    assert files_of(fetch_published(URL, tmp_path / "cache")) == FILES


@pytest.mark.parametrize(
    ("target", "how", "message"),
    [
        ("manifest.json", "status 503", "SlowDown"),
        ("manifest.json", "truncate", "breaks again and again"),
        ("manifest.json", "damage reply", "the manifest is damaged|not the manifest"),
        ("state.json", "status 500", "HTTP 500"),
        ("state.json", "damage reply", "incomplete or damaged"),
        ("weights.bin", "cut reply", "cannot be reached"),
    ],
)
def test_a_download_that_fails_leaves_no_copy_of_what_is_damaged(
    gate: Any, client: Any, policy: Path, tmp_path: Path, target: str, how: str, message: str
) -> None:
    publish_folder(policy, URL)
    gate.fail("GET", target, how, times=99)
    with pytest.raises(StoreError, match=message):
        fetch_published(URL, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob(target))


def test_a_store_that_hangs_is_given_up(gate: Any, client: Any, policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_client, "READ_TIMEOUT", 0.3)
    gate.fail("PUT", "state.json", "wait 1", times=99)
    with pytest.raises(StoreError, match=r"cannot be reached \(ReadTimeoutError\)"):
        publish_folder(policy, "s3://bucket/policies/slow")  # what hangs may arrive later yet


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"])
def test_a_right_that_is_missing_is_named(gate: Any, client: Any, policy: Path, code: str) -> None:
    gate.fail("PUT", "state.json", "status 403", times=99, code=code)
    with pytest.raises(StoreError, match=rf"access is refused \({code}\)") as caught:
        publish_folder(policy, URL)
    assert "s3:PutObject" in caught.value.remedy
    gate.fail("DELETE", "manifest.json", "status 403", times=99, code=code)
    with pytest.raises(StoreError, match=rf"access is refused \({code}\)") as caught:
        remove_published(URL)
    assert "s3:DeleteObject" in caught.value.remedy


def test_a_bucket_that_is_not_there_is_named(gate: Any, client: Any, policy: Path) -> None:
    with pytest.raises(StoreError, match="no bucket 'nowhere'"):
        publish_folder(policy, "s3://nowhere/policy")


def test_no_log_and_no_error_tells_a_credential(
    gate: Any, client: Any, policy: Path, tmp_path: Path, secrets: dict[str, str],
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG, logger="advantageflow")
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(s3_transfer, "_WORTH_SHOWING", 1)
    errors = []
    publish_folder(policy, URL)
    fetch_published(URL, tmp_path / "cache")
    for fault in ("status 403", "status 503", "cut request"):
        gate.fail("PUT", "state.json", fault)
        (policy / "state.json").write_text(fault)
        with pytest.raises(StoreError) as caught:
            publish_folder(policy, URL)
        errors.append(str(caught.value))
    assert "GB sent" in caplog.text
    assert "GB fetched" in caplog.text
    for secret in secrets.values():
        assert secret not in caplog.text
        assert secret not in "".join(errors)


def test_a_task_that_is_stopped_amid_an_upload_leaves_no_parts_behind(gate: Any, client: Any, policy: Path) -> None:
    code = (
        "import signal, sys\n"
        "from pathlib import Path\n"
        "from advantageflow.store import s3_transfer\n"
        "from advantageflow.store.published import publish_folder\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        f"s3_transfer.PART = {5 * MIB}\n"
        "publish_folder(Path(sys.argv[1]), sys.argv[2])\n"
    )
    gate.fail("PUT", PARTS, "wait 1", times=99)
    process = subprocess.Popen([sys.executable, "-c", code, str(policy), URL])
    deadline = time.monotonic() + 30
    while not any("partNumber" in path for _, path in gate.seen) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    assert unfinished(client) == []
    assert not is_published(URL)
