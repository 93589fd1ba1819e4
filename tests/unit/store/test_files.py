"""Artifacts are whole or absent, and an error names the file, the free space and the remedy."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import advantageflow
from advantageflow.errors import StoreError
from advantageflow.store.files import publish, read_json, read_tensors, write_json, write_tensors
from advantageflow.store.tables import write_table

COMPONENTS = Path(advantageflow.__file__).parent.parent


def test_a_published_folder_holds_what_was_written(tmp_path: Path) -> None:
    with publish(tmp_path / "new" / "artifact") as partial:
        write_json(partial / "metadata.json", {"a": [1, 2.5, None, "ü"]})
        assert not (tmp_path / "new" / "artifact").exists()
    assert read_json(tmp_path / "new" / "artifact" / "metadata.json") == {"a": [1, 2.5, None, "ü"]}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["artifact"]


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(partial: Path) -> None:
        write_json(partial / "metadata.json", {})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), publish(tmp_path / "artifact") as partial:
        fail(partial)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "artifact").mkdir()
    with publish(tmp_path / "artifact") as partial:
        write_json(partial / "metadata.json", {"a": 1})
    assert read_json(tmp_path / "artifact" / "metadata.json") == {"a": 1}


def test_a_retried_task_replaces_its_earlier_artifact_whole(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with publish(tmp_path / "artifact") as partial:
            write_json(partial / "metadata.json", {"name": name})
            (partial / name).touch()
    assert sorted(path.name for path in (tmp_path / "artifact").iterdir()) == ["metadata.json", "second"]
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]


def test_a_failed_retry_keeps_the_earlier_artifact(tmp_path: Path) -> None:
    with publish(tmp_path / "artifact") as partial:
        write_json(partial / "metadata.json", {"name": "first"})
    with pytest.raises(ZeroDivisionError), publish(tmp_path / "artifact"):
        raise ZeroDivisionError
    assert read_json(tmp_path / "artifact" / "metadata.json") == {"name": "first"}


def test_a_folder_that_is_no_artifact_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreError, match="not an artifact") as caught, publish(tmp_path / "mine"):
        pytest.fail("nothing must be written")
    assert caught.value.where == str(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_path_through_a_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="a file, not a folder"), publish(tmp_path / "file" / "artifact"):
        pytest.fail("nothing must be written")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_one_clear_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="no permission to write"), publish(tmp_path / "artifact"):
        pytest.fail("nothing must be written")


def write_big_json(folder: Path) -> None:
    write_json(folder / "big.json", {"text": "x" * 1_000_000})


def write_big_table(folder: Path) -> None:
    write_table(folder / "big.parquet", [{"image": os.urandom(1_000_000)}], {"image": "binary"})


def write_big_tensors(folder: Path) -> None:
    write_tensors(folder / "big.safetensors", {"latents": torch.zeros(250_000)})


WRITERS = [write_big_json, write_big_table, write_big_tensors]


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The operating system refuses to write a file beyond this size, as a full quota does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("write", WRITERS)
def test_a_write_that_the_system_cuts_short_leaves_no_half_artifact(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    with (
        pytest.raises(StoreError, match=r"larger than .* \([\d,.]+ MB free\)") as caught,
        largest_file(300_000),
        publish(tmp_path / "artifact") as partial,
    ):
        write(partial)
    assert "big." in caught.value.where
    assert "--resume" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


FULL_DISK = """
import json, sys
from pathlib import Path
sys.path[:0] = [{components!r}, {tests!r}]
from test_files import WRITERS
from advantageflow.errors import StoreError
from advantageflow.store.files import publish, write_json

seen = []
for write in [*WRITERS, None]:
    try:
        with publish(Path("disk") / "artifact" if write else Path("readonly") / "artifact") as partial:
            write_json(partial / "metadata.json", {{}})
            write(partial)
    except StoreError as error:
        seen.append([error.message, error.where, error.remedy, [p.name for p in Path("disk").iterdir()]])
print(json.dumps(seen))
"""


def test_a_full_disk_and_a_read_only_one_leave_no_half_artifact(tmp_path: Path) -> None:
    """On real file systems: a namespace of our own may mount a disk of 256 KB."""
    for name in ("disk", "readonly"):
        (tmp_path / name).mkdir()
    mounts = "mount -t tmpfs -o size=256k none disk && mount -t tmpfs -o ro none readonly"
    if shutil.which("unshare") is None or in_namespace(mounts, tmp_path).returncode:
        pytest.skip("this system lets no ordinary user mount in a namespace")
    script = textwrap.dedent(FULL_DISK.format(components=str(COMPONENTS), tests=str(Path(__file__).parent)))
    (tmp_path / "script.py").write_text(script)
    run = in_namespace(f"{mounts} && {sys.executable} script.py", tmp_path)
    assert run.returncode == 0, run.stderr
    *full, read_only = json.loads(run.stdout)
    assert len(full) == len(WRITERS)
    for message, where, remedy, left_behind in full:
        assert message.startswith("the disk is full (0.")
        assert "big." in where
        assert "free some space" in remedy
        assert left_behind == []
    assert read_only[0] == "the file system is read-only"


def in_namespace(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", command],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_file_that_cannot_be_written_whole_stays_as_it_was(tmp_path: Path) -> None:
    write_json(tmp_path / "one.json", {"a": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(StoreError, match="larger than this file system"):
            write_json(tmp_path / "one.json", {"a": "x" * 100})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert read_json(tmp_path / "one.json") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["one.json"]


def test_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 4).T, "none": torch.zeros(0, 4, 2, 2), "half": torch.ones(2, dtype=torch.bfloat16)}
    write_tensors(tmp_path / "t.safetensors", tensors)
    back = read_tensors(tmp_path / "t.safetensors")
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_refuses_numbers_that_are_not_finite(tmp_path: Path, number: float) -> None:
    with pytest.raises(StoreError, match="cannot be written as JSON"):
        write_json(tmp_path / "m.json", {"loss": number})
    assert not (tmp_path / "m.json").exists()


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe", b""])
def test_corrupt_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="corrupt") as caught:
        read_json(path)
    assert caught.value.where == str(path)


def test_truncated_safetensors_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    write_tensors(path, {"a": torch.zeros(100)})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(StoreError, match="corrupt") as caught:
        read_tensors(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("read", [read_json, read_tensors])
def test_a_missing_file_is_named(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(StoreError, match="file not found") as caught:
        read(tmp_path / "none")
    assert caught.value.where == str(tmp_path / "none")
