"""S3 against a real server process: whole, resumed after a cut, corrupt, missing, cached, and clear refusals."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import boto3
import pytest

from advantageflow.errors import StoreError
from advantageflow.store.s3 import fetch_file, fetch_folder

SECRET = "verysecret"
CONTENT = bytes(range(256)) * 12_000  # three chunks


def put(client: Any, key: str, body: bytes) -> None:
    client.put_object(Bucket="bucket", Key=key, Body=body)


def test_an_object_comes_whole_and_is_not_fetched_again(client: Any, gate: Any, tmp_path: Path) -> None:
    put(client, "some/weights.bin", CONTENT)
    path = fetch_file("s3://bucket/some/weights.bin", tmp_path)
    assert (path.name, path.read_bytes()) == ("weights.bin", CONTENT)
    assert fetch_file("s3://bucket/some/weights.bin", tmp_path) == path
    assert len(gate.reads) == 1


def test_a_changed_object_is_fetched_again(client: Any, gate: Any, tmp_path: Path) -> None:
    put(client, "changing", b"before")
    fetch_file("s3://bucket/changing", tmp_path)
    put(client, "changing", b"behind")
    assert fetch_file("s3://bucket/changing", tmp_path).read_bytes() == b"behind"


def test_a_transfer_that_breaks_goes_on_at_its_byte(client: Any, gate: Any, tmp_path: Path) -> None:
    put(client, "broken", CONTENT)
    gate.cuts = [2_000_000, 0, 0, 0, 0]
    with pytest.raises(StoreError, match="breaks again"):
        fetch_file("s3://bucket/broken", tmp_path)
    assert not list(tmp_path.glob("s3-*"))  # nothing that looks complete
    gate.reads = []
    assert fetch_file("s3://bucket/broken", tmp_path).read_bytes() == CONTENT
    (start,) = [int(re.fullmatch(r"bytes=(\d+)-", asked or "").group(1)) for asked in gate.reads]  # type: ignore[union-attr]
    assert 1_000_000 <= start <= 2_000_000


def test_one_break_goes_unnoticed(client: Any, gate: Any, tmp_path: Path) -> None:
    put(client, "flaky", CONTENT)
    gate.cuts = [1_500_000]
    assert fetch_file("s3://bucket/flaky", tmp_path).read_bytes() == CONTENT
    assert gate.reads[0] == "bytes=0-"
    assert len(gate.reads) == 2
    assert gate.reads[1] != "bytes=0-"


def upload_in_parts(client: Any, key: str, parts: list[bytes]) -> None:
    upload = client.create_multipart_upload(Bucket="bucket", Key=key)["UploadId"]
    where = {"Bucket": "bucket", "Key": key, "UploadId": upload}
    etags = [client.upload_part(**where, PartNumber=k, Body=part)["ETag"] for k, part in enumerate(parts, 1)]
    listed = [{"PartNumber": k, "ETag": etag} for k, etag in enumerate(etags, 1)]
    client.complete_multipart_upload(**where, MultipartUpload={"Parts": listed})


@pytest.mark.parametrize("sizes", [[6_000_000, 6_000_000, 9], [5_300_000, 5_400_000, 7]], ids=["equal", "unequal"])
def test_an_object_that_came_in_parts_is_checked_by_its_etag(
    client: Any, gate: Any, tmp_path: Path, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")  # so that there is nothing but the ETag
    upload_in_parts(boto3.client("s3", endpoint_url=client.meta.endpoint_url), "parts", [b"x" * n for n in sizes])
    gate.cuts = [2_000_000, 0, 0, 0, 0]
    with pytest.raises(StoreError):
        fetch_file("s3://bucket/parts", tmp_path)
    (partial,) = tmp_path.rglob("*.part")
    partial.write_bytes(b"y" + partial.read_bytes()[1:])
    with pytest.raises(StoreError, match="MD5 of its parts"):
        fetch_file("s3://bucket/parts", tmp_path)
    assert fetch_file("s3://bucket/parts", tmp_path).read_bytes() == b"x" * sum(sizes)


@pytest.mark.parametrize("checksum", ["SHA256", "CRC32", None])
def test_a_damaged_partial_file_is_found_and_dropped(
    client: Any, gate: Any, tmp_path: Path, checksum: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if checksum is None:  # as older clients upload: only the ETag tells
        monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
        client = boto3.client("s3", endpoint_url=client.meta.endpoint_url)
    how = {"ChecksumAlgorithm": checksum} if checksum else {}
    client.put_object(Bucket="bucket", Key="damaged", Body=CONTENT, **how)
    gate.cuts = [2_000_000, 0, 0, 0, 0]
    with pytest.raises(StoreError):
        fetch_file("s3://bucket/damaged", tmp_path)
    (partial,) = tmp_path.rglob("*.part")
    partial.write_bytes(b"x" + partial.read_bytes()[1:])
    with pytest.raises(StoreError, match=checksum or "MD5") as caught:
        fetch_file("s3://bucket/damaged", tmp_path)
    assert caught.value.where == "s3://bucket/damaged"
    assert not partial.exists()
    assert fetch_file("s3://bucket/damaged", tmp_path).read_bytes() == CONTENT


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
        ("s3://bucket", "no address"),
        ("s3://bucket/a/../b", "no address"),
        (f"s3://key:{SECRET}@bucket/a", "no address"),
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
    with pytest.raises(StoreError, match="the endpoint is no address") as caught:
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
