"""Everything below an address of a store, published or half published: what folders there are, and removing it."""

from __future__ import annotations

import shutil
from pathlib import Path

from advantageflow.store.files import reading, writing
from advantageflow.store.s3 import is_s3, list_objects
from advantageflow.store.s3_client import make_client, parse_url
from advantageflow.store.s3_errors import REMOVING, explaining


def folders_below(url: str) -> list[str]:
    """Names of the folders right below an address; none where there is nothing.

    Raises:
        StoreError: they cannot be listed.
    """
    if is_s3(url):
        return sorted({path.partition("/")[0] for path in list_objects(make_client(url), url) if "/" in path})
    with reading(Path(url)):
        return sorted(entry.name for entry in Path(url).glob("*") if entry.is_dir())


def remove_below(url: str) -> None:
    """Remove everything below an address.

    Raises:
        StoreError: it cannot be removed.
    """
    if is_s3(url):
        bucket, prefix = parse_url(url)
        client = make_client(url)
        for path in list_objects(client, url):
            with explaining(client, f"{url}/{path}", REMOVING):
                client.delete_object(Bucket=bucket, Key=f"{prefix}/{path}")
    elif Path(url).is_dir():
        with writing(Path(url)):
            shutil.rmtree(url)
