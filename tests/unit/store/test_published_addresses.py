"""Addresses to publish at: which are refused, how they are joined, and how S3 is addressed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from advantageflow.errors import StoreError
from advantageflow.store.published import is_published, join, publish_folder
from advantageflow.store.s3_client import make_client


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
