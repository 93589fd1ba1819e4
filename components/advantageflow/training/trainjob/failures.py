"""Why a process on a node failed: published by the process, and raised again by the task that waits for it.

The pods' logs say it too, but after it comes what torchrun and the other processes have to say.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from advantageflow.errors import UserError
from advantageflow.store.published import fetch_published, is_published, join, publish_folder, remove_published
from advantageflow.training.failures import first_failure, record_failure


def publish_failure(url: str, rank: int, error: BaseException) -> None:
    """Say why the process of this rank failed.

    Raises:
        StoreError: it cannot be published.
    """
    with tempfile.TemporaryDirectory(prefix="advantageflow-failure-") as folder:
        record_failure(Path(folder), rank, error)
        publish_folder(Path(folder), join(url, str(rank)))


def published_failure(url: str, processes: int) -> UserError | None:
    """The user's mistake, or the preemption, that made the processes fail; None if none of them says so.

    Raises:
        StoreError: the store cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="advantageflow-failure-") as name:
        folder = Path(name)
        for rank in range(processes):
            if is_published(join(url, str(rank))):
                copy = fetch_published(join(url, str(rank)), folder / "cache")
                shutil.copytree(copy, folder, dirs_exist_ok=True)
        found = first_failure(folder, {})
    return found if isinstance(found, UserError) else None


def remove_failures(url: str, processes: int) -> None:
    """Remove what processes said.

    Raises:
        StoreError: it cannot be removed.
    """
    for rank in range(processes):
        remove_published(join(url, str(rank)))
