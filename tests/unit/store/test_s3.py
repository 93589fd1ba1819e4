"""S3 against a real server: whole or absent, corrupt, changing, missing, cached; refusals, and how it is addressed."""

from __future__ import annotations

import re
import shutil
import threading
from pathlib import Path
from typing import Any

import boto3
import pytest

from advantageflow.errors import StoreError
from advantageflow.store import s3_transfer
from advantageflow.store.published import is_published, join, publish_folder
from advantageflow.store.s3 import fetch_file, fetch_folder
from advantageflow.store.s3_client import make_client

SECRET = "verysecret"
CONTENT = bytes(range(256)) * 12_000  # more than three million bytes


def put(client: Any, key: str, body: bytes) -> None:
    client.put_object(Bucket="bucket", Key=key, Body=body)


def test_an_object_comes_whole_and_is_not_fetched_again(client: Any, gate: Any, tmp_path: Path) -> None:
    put(client, "some/weights.bin", CONTENT)
    path = fetch_file("s3://bucket/some/weights.bin", tmp_path)
    assert (path.name, path.read_bytes()) == ("weights.bin", CONTENT)
    assert fetch_file("s3://bucket/some/weights.bin", tmp_path) == path
    assert len(gate.reads) == 1


def test_what_the_disk_has_no_room_for_is_not_begun(
    client: Any, gate: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(client, "some/large.bin", CONTENT)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(StoreError, match=r"there are 0\.00 GB free"):
        fetch_file("s3://bucket/some/large.bin", tmp_path)
    assert not gate.reads


def test_a_changed_object_is_fetched_again(client: Any, gate: Any, tmp_path: Path) -> None:
    put(client, "changing", b"before")
    fetch_file("s3://bucket/changing", tmp_path)
    put(client, "changing", b"behind")
    assert fetch_file("s3://bucket/changing", tmp_path).read_bytes() == b"behind"


def test_a_transfer_that_breaks_again_and_again_leaves_nothing_that_looks_complete(
    client: Any, gate: Any, tmp_path: Path
) -> None:
    put(client, "broken", CONTENT)
    gate.cuts = [2_000_000, 0, 0, 0, 0]
    with pytest.raises(StoreError, match="breaks again and again") as caught:
        fetch_file("s3://bucket/broken", tmp_path)
    assert caught.value.where == "s3://bucket/broken"
    assert not list(tmp_path.rglob("content/*"))
    assert fetch_file("s3://bucket/broken", tmp_path).read_bytes() == CONTENT


def test_one_break_goes_unnoticed(client: Any, gate: Any, tmp_path: Path) -> None:
    put(client, "flaky", CONTENT)
    gate.cuts = [1_500_000]
    assert fetch_file("s3://bucket/flaky", tmp_path).read_bytes() == CONTENT
    assert len(gate.reads) == 2


def test_files_that_came_whole_are_kept_when_another_breaks(client: Any, gate: Any, tmp_path: Path) -> None:
    put(client, "model/a", b"a")
    put(client, "model/b", b"b")
    gate.fail("GET", "model/b", "truncate", times=5)
    with pytest.raises(StoreError, match="breaks again and again"):
        fetch_folder("s3://bucket/model", tmp_path)
    gate.seen.clear()
    folder = fetch_folder("s3://bucket/model", tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"a": b"a", "b": b"b"}
    assert [path for _, path in gate.seen if path.startswith("/bucket/model/")] == ["/bucket/model/b"]


def test_a_large_object_comes_in_parts_and_only_the_part_that_breaks_is_asked_for_again(
    client: Any, gate: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_transfer, "PART", 1_000_000)
    put(client, "large", CONTENT)
    gate.cuts = [50_000]  # of whichever part comes first, the last and shortest too
    assert fetch_file("s3://bucket/large", tmp_path).read_bytes() == CONTENT
    starts = [int(re.fullmatch(r"bytes=(\d+)-\d*", asked or "").group(1)) for asked in gate.reads]  # type: ignore[union-attr]
    assert sorted(set(starts)) == [0, 1_000_000, 2_000_000, 3_000_000]
    assert len(starts) == 5


def test_an_object_that_changes_while_it_is_fetched_is_no_mix_of_both(
    client: Any, gate: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_transfer, "PART", 1_000_000)
    put(client, "moving", CONTENT)
    changes = [CONTENT[::-1]]
    gate.before = lambda method, path: put(client, "moving", changes.pop()) if method == "GET" and changes else None
    with pytest.raises(StoreError, match="changed while it was fetched"):
        fetch_file("s3://bucket/moving", tmp_path)
    assert not list(tmp_path.rglob("content/*"))


def test_an_object_whose_checksum_does_not_fit_is_refused(client: Any, gate: Any, tmp_path: Path) -> None:
    client.put_object(Bucket="bucket", Key="damaged", Body=CONTENT, ChecksumAlgorithm="CRC32")
    gate.fail("GET", "damaged", "damage reply", times=5)
    with pytest.raises(StoreError, match="arrives damaged") as caught:
        fetch_file("s3://bucket/damaged", tmp_path)
    assert caught.value.where == "s3://bucket/damaged"
    assert not list(tmp_path.rglob("content/*"))


def test_a_prefix_becomes_a_folder_and_only_what_changed_is_fetched_again(
    client: Any, gate: Any, tmp_path: Path
) -> None:
    for key in ("model/", "model/model_index.json", "model/unet/a.bin", "model/unet/b.bin", "model-2/other"):
        put(client, key, key.encode())
    folder = fetch_folder("s3://bucket/model/", tmp_path)
    files = {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}
    assert folder.name == "model"
    assert files == {name: f"model/{name}" for name in ("model_index.json", "unet/a.bin", "unet/b.bin")}
    assert fetch_folder("s3://bucket/model", tmp_path) == folder
    assert len(gate.reads) == 3
    put(client, "model/unet/b.bin", b"new")
    client.delete_object(Bucket="bucket", Key="model/unet/a.bin")
    again = fetch_folder("s3://bucket/model", tmp_path)
    assert len(gate.reads) == 4
    assert {p.name for p in again.rglob("*") if p.is_file()} == {"model_index.json", "b.bin"}
    assert (again / "unet" / "b.bin").read_bytes() == b"new"


def test_processes_that_share_a_folder_fetch_once(client: Any, gate: Any, tmp_path: Path) -> None:
    put(client, "shared", CONTENT)
    threads = [threading.Thread(target=fetch_file, args=("s3://bucket/shared", tmp_path)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(gate.reads) == 1


def test_a_lost_file_of_a_copy_is_fetched_again(client: Any, gate: Any, tmp_path: Path) -> None:
    put(client, "lost/a", b"a")
    (fetch_folder("s3://bucket/lost", tmp_path) / "a").unlink()
    assert (fetch_folder("s3://bucket/lost", tmp_path) / "a").read_bytes() == b"a"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://bucket/none", "no such object"),
        ("s3://nowhere/none", "no bucket 'nowhere'"),
        ("s3://bucket", "not the address"),
        ("s3://bucket/a/../b", "not the address"),
        (f"s3://key:{SECRET}@bucket/a", "not the address"),
    ],
)
@pytest.mark.parametrize("fetch", [fetch_file, fetch_folder])
def test_what_is_not_there_is_said_so(client: Any, tmp_path: Path, url: str, message: str, fetch: Any) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        fetch(url, tmp_path)
    assert caught.value.remedy
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("keys", [["odd/../../escape"], ["odd/a", "odd/a/b"], ["odd/a//b"]])
def test_keys_that_are_no_paths_are_refused_by_name(client: Any, tmp_path: Path, keys: list[str]) -> None:
    for key in keys:
        put(client, key, b"x")
    with pytest.raises(StoreError, match="cannot be a file's path") as caught:
        fetch_folder("s3://bucket/odd", tmp_path)
    for key in keys:
        client.delete_object(Bucket="bucket", Key=key)
    assert caught.value.where.removeprefix("s3://bucket/") in keys
    assert not list(tmp_path.rglob("escape"))


def test_an_endpoint_that_is_no_address_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "minio")
    with pytest.raises(StoreError, match="the endpoint is not an address") as caught:
        fetch_file("s3://bucket/none", tmp_path)
    assert "AWS_ENDPOINT_URL_S3" in caught.value.where


def test_no_credentials_and_no_endpoint_are_said_so(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://user:{SECRET}@127.0.0.1:9")
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:9 cannot be reached") as caught:
        fetch_file("s3://bucket/none", tmp_path)
    assert SECRET not in str(caught.value)
    for name, value in {"AWS_EC2_METADATA_DISABLED": "true", "AWS_SHARED_CREDENTIALS_FILE": "/none"}.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with pytest.raises(StoreError, match="credentials"):
        fetch_file("s3://bucket/none", tmp_path)


@pytest.mark.parametrize("url", ["gs://bucket/key", "", "s3://bucket", "s3://bucket/../up", "file:///tmp/x"])
def test_addresses_that_are_none_are_refused(policy: Path, url: str) -> None:
    with pytest.raises(StoreError, match=r"nothing can be published there|not the address") as caught:
        publish_folder(policy, url)
    assert "s3://bucket/" in caught.value.remedy


def test_a_folder_that_is_a_file_is_said_so(policy: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="is a file, not a folder"):
        publish_folder(policy, str(tmp_path / "file" / "below"))


def test_join_takes_one_slash_between_parts() -> None:
    assert join("s3://bucket/prefix/", "a", "b") == "s3://bucket/prefix/a/b"
    assert join("shared", "a") == "shared/a"


@pytest.mark.parametrize(
    ("style", "endpoint", "address"),
    [
        ("", "http://store.example", "http://store.example/bucket/key?"),
        ("auto", "http://store.example", "http://store.example/bucket/key?"),
        ("path", "http://store.example", "http://store.example/bucket/key?"),
        ("virtual", "http://store.example", "http://bucket.store.example/key?"),
        ("auto", None, "https://bucket.s3.amazonaws.com/key?"),
        ("path", None, "https://s3.amazonaws.com/bucket/key?"),
    ],
)
def test_the_bucket_stands_in_the_path_of_an_own_endpoint_unless_said_otherwise(
    gate: Any, monkeypatch: pytest.MonkeyPatch, style: str, endpoint: str | None, address: str
) -> None:
    monkeypatch.setenv("ADVANTAGEFLOW_S3_ADDRESSING", style)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint) if endpoint else monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    url = make_client("s3://bucket/key").generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "key"})
    assert url.startswith(address)


def test_an_unknown_addressing_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVANTAGEFLOW_S3_ADDRESSING", "pathstyle")
    with pytest.raises(StoreError, match="invalid addressing 'pathstyle'") as caught:
        is_published("s3://bucket/key")
    assert caught.value.where == "ADVANTAGEFLOW_S3_ADDRESSING"
