"""Publication at an S3 server process and in a shared folder: whole or absent, replaced in one step, removed."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from folder_files import POLICY, files_of, write

from advantageflow.errors import StoreError
from advantageflow.store.published import (
    fetch_published,
    is_published,
    join,
    kept_in,
    local_folder,
    publish_folder,
    remove_kept,
    remove_published,
)


class Where:
    """An address to publish at, and a look at what lies there, by path below it."""

    def __init__(self, url: str, client: Any, folder: Path) -> None:
        self.url, self._client, self._folder = url, client, folder

    def files(self) -> dict[str, bytes]:
        if self._client is None:
            return files_of(self._folder)
        keys = [one["Key"] for one in self._client.list_objects_v2(Bucket="bucket").get("Contents", [])]
        return {key.removeprefix("some/where/"): self._get(key) for key in keys}

    def put(self, path: str, content: bytes | None) -> None:
        if self._client is None:
            write(self._folder, {path: b""})
            (self._folder / path).unlink() if content is None else (self._folder / path).write_bytes(content)
        elif content is None:
            self._client.delete_object(Bucket="bucket", Key=f"some/where/{path}")
        else:
            self._client.put_object(Bucket="bucket", Key=f"some/where/{path}", Body=content)

    def _get(self, key: str) -> bytes:
        content: bytes = self._client.get_object(Bucket="bucket", Key=key)["Body"].read()
        return content


@pytest.fixture(params=["s3", "folder"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Where:
    if request.param == "s3":
        return Where("s3://bucket/some/where", request.getfixturevalue("client"), tmp_path)
    return Where(str(tmp_path / "some" / "where"), None, tmp_path / "some" / "where")


def test_what_is_published_comes_back_as_it_was(where: Where, policy: Path, tmp_path: Path) -> None:
    assert not is_published(where.url)
    publish_folder(policy, where.url)
    assert is_published(where.url)
    copy = fetch_published(where.url, tmp_path / "cache")
    assert files_of(copy) == POLICY
    assert fetch_published(where.url, tmp_path / "cache") == copy


def test_a_person_may_name_a_published_folder_or_a_plain_one(
    where: Where, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    publish_folder(policy, where.url)
    assert files_of(local_folder(where.url)) == POLICY
    assert local_folder(str(policy)) == policy


def test_what_is_not_published_is_said_so(where: Where, tmp_path: Path) -> None:
    where.put("0" * 32 + "/state.json", b"{}")  # as an interrupted publication leaves it
    assert not is_published(where.url)
    with pytest.raises(StoreError, match="not published, or not wholly") as caught:
        fetch_published(where.url, tmp_path / "cache")
    assert caught.value.where == where.url


def test_another_content_takes_the_place_of_the_first(where: Where, policy: Path, tmp_path: Path) -> None:
    publish_folder(policy, where.url)
    (policy / "empty").unlink()
    write(policy, {"state.json": b'{"round": 2}'})
    publish_folder(policy, where.url)
    assert files_of(fetch_published(where.url, tmp_path / "cache")) == files_of(policy)
    assert sorted(content for path, content in where.files().items() if path != "manifest.json") == sorted(
        files_of(policy).values()
    )


def test_the_same_content_is_not_sent_twice(gate: Any, client: Any, policy: Path) -> None:
    publish_folder(policy, "s3://bucket/twice")
    gate.seen.clear()
    publish_folder(policy, "s3://bucket/twice")
    assert [path for method, path in gate.seen if method in ("PUT", "POST")] == ["/bucket/twice/manifest.json"]


def test_a_lost_or_altered_file_is_found_and_publishing_again_mends_it(
    where: Where, policy: Path, tmp_path: Path
) -> None:
    publish_folder(policy, where.url)
    weights = next(path for path in where.files() if path.endswith("weights.bin"))
    for content in (POLICY["policy/weights.bin"][:-1] + b"x", b"short", None):
        where.put(weights, content)
        with pytest.raises(StoreError, match="incomplete or damaged") as caught:
            fetch_published(where.url, tmp_path / "cache")
        assert caught.value.where == where.url
        publish_folder(policy, where.url)
        assert files_of(fetch_published(where.url, tmp_path / "cache")) == POLICY


def test_an_altered_copy_is_fetched_again(client: Any, policy: Path, tmp_path: Path) -> None:
    publish_folder(policy, "s3://bucket/policy")
    copy = fetch_published("s3://bucket/policy", tmp_path / "cache")
    (copy / "state.json").write_bytes(b"[]")
    assert files_of(fetch_published("s3://bucket/policy", tmp_path / "cache")) == POLICY


def no_version(manifest: dict[str, Any]) -> None:
    manifest["version"] = "0" * 32


def outside(manifest: dict[str, Any]) -> None:
    manifest["files"][0]["path"] = "../../escape"


def newer(manifest: dict[str, Any]) -> None:
    manifest["format_version"] = 2


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (None, "the manifest is damaged"),
        (no_version, "the version is not that of the files"),
        (outside, "not a path below a folder"),
        (newer, "format 2, unknown here"),
    ],
)
def test_a_manifest_that_cannot_be_trusted_is_refused(
    where: Where, policy: Path, tmp_path: Path, alter: Callable[[dict[str, Any]], None] | None, message: str
) -> None:
    publish_folder(policy, where.url)
    content = where.files()["manifest.json"]
    if alter is None:
        where.put("manifest.json", content[:-20])
    else:
        manifest = json.loads(content)
        alter(manifest)
        where.put("manifest.json", json.dumps(manifest).encode())
    with pytest.raises(StoreError, match=message) as caught:
        fetch_published(where.url, tmp_path / "cache")
    assert caught.value.where == f"{where.url}/manifest.json"


def test_removal_leaves_what_somebody_else_put_there(where: Where, policy: Path) -> None:
    publish_folder(policy, where.url)
    where.put("notes.txt", b"mine")
    where.put("other/file", b"mine too")
    remove_published(where.url)
    assert where.files() == {"notes.txt": b"mine", "other/file": b"mine too"}
    remove_published(where.url)
    assert not is_published(where.url)


def test_removing_a_version_leaves_another_that_was_published_in_its_place(where: Where, tmp_path: Path) -> None:
    versions = [publish_folder(write(tmp_path / name, {"name": name.encode()}), where.url) for name in ("old", "new")]
    remove_published(where.url, versions[0])
    assert (fetch_published(where.url, tmp_path / "cache") / "name").read_bytes() == b"new"
    remove_published(where.url, versions[1])
    assert where.files() == {}


def test_the_manifest_goes_first_when_removed_and_comes_last_when_published(
    gate: Any, client: Any, policy: Path
) -> None:
    publish_folder(policy, "s3://bucket/order")
    assert [path for method, path in gate.seen if method == "PUT"][-1] == "/bucket/order/manifest.json"
    gate.seen.clear()
    remove_published("s3://bucket/order")
    assert next(path for method, path in gate.seen if method == "DELETE") == "/bucket/order/manifest.json"


def test_a_reader_is_given_the_new_content_when_the_old_one_goes_amid_reading(
    gate: Any, client: Any, policy: Path, tmp_path: Path
) -> None:
    publish_folder(policy, "s3://bucket/moving")
    newer = write(tmp_path / "newer", {"state.json": b"newer"})

    def replace(method: str, path: str) -> None:
        if "list-type" in path or "state.json" in path:
            gate.before = lambda method, path: None
            publish_folder(newer, "s3://bucket/moving")

    gate.before = replace
    assert files_of(fetch_published("s3://bucket/moving", tmp_path / "cache")) == {"state.json": b"newer"}


def test_of_two_who_publish_at_once_one_stays_whole(where: Where, tmp_path: Path) -> None:
    contents = [{"state.json": f"{k}".encode(), f"only-{k}": b"x" * 1000} for k in range(2)]
    folders = [write(tmp_path / f"source-{k}", content) for k, content in enumerate(contents)]
    threads = [threading.Thread(target=publish_folder, args=(folder, where.url)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert files_of(fetch_published(where.url, tmp_path / "cache")) in contents


def test_nothing_to_publish_is_refused_before_anything_is_touched(where: Where, tmp_path: Path) -> None:
    (tmp_path / "hollow" / "below").mkdir(parents=True)
    for folder, message in ((tmp_path / "hollow", "no files"), (tmp_path / "none", "no such folder")):
        with pytest.raises(StoreError, match=message):
            publish_folder(folder, where.url)
    assert where.files() == {}


def test_bodies_are_signed_and_need_no_newer_checksum(gate: Any, client: Any, policy: Path) -> None:
    publish_folder(policy, "s3://bucket/signed")
    assert gate.unsigned == []
    head = boto3.client("s3").head_object(Bucket="bucket", Key="signed/manifest.json", ChecksumMode="ENABLED")
    assert not [name for name in head if name.startswith("Checksum")]


def test_what_is_kept_in_a_store_is_listed_folder_by_folder_and_removed(where: Where, tmp_path: Path) -> None:
    urls = {name: join(where.url, "policies", name) for name in ("round-001-a", "round-002-b")}
    for url in urls.values():
        publish_folder(write(tmp_path / "policy", POLICY), url)
    where.put("mine.txt", b"somebody's own")
    first, second = kept_in(where.url)
    assert (first.path, second.path) == ("policies/round-001-a", "policies/round-002-b")
    assert first.size > sum(map(len, POLICY.values()))
    assert first.files[0] == "policies/round-001-a/manifest.json"
    assert abs(first.changed - time.time()) < 600
    remove_kept(where.url, first)
    assert [one.path for one in kept_in(where.url)] == [second.path]
    assert (is_published(urls["round-001-a"]), is_published(urls["round-002-b"])) == (False, True)
    assert where.files()["mine.txt"] == b"somebody's own"


def test_what_goes_while_a_store_is_looked_through_is_left_out(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, look = tmp_path / "store", Path.stat
    for name in ("goes", "goes too", "stays"):
        publish_folder(policy, str(store / "policies" / name))

    def stat(path: Path, **options: Any) -> Any:
        if "goes" in str(path.relative_to(tmp_path)):
            for name in ("goes", "goes too"):
                shutil.rmtree(store / "policies" / name, ignore_errors=True)
        return look(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    assert [one.path for one in kept_in(str(store))] == ["policies/stays"]
