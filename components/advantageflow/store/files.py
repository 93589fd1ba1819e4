"""Files and folders on disk: JSON, safetensors, atomic publication, and errors that name the file and the remedy."""

import contextlib
import errno
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from advantageflow.annotations import Tensor
from advantageflow.errors import StoreError
from advantageflow.json_text import parse_json

METADATA_FILE = "metadata.json"
_AGAIN = "nothing half-written was left behind, and what was complete before is kept: run again with --resume"
_FULL = f"free some space there, or choose a working folder on another disk; {_AGAIN}"
_DENIED = f"give this user write permission there, or choose another working folder; {_AGAIN}"
_REMEDIES = {
    errno.ENOSPC: ("the disk is full", _FULL),
    errno.EDQUOT: ("the disk quota is used up", _FULL),
    errno.EFBIG: ("the file would be larger than this file system or process may write", _FULL),
    errno.EACCES: ("no permission to write", _DENIED),
    errno.EPERM: ("no permission to write", _DENIED),
    errno.EROFS: ("the file system is read-only", _DENIED),
    errno.ENOENT: ("a folder of the path is not there", "make it, or choose another place"),
    errno.EISDIR: ("it is a folder", "give the name of a file"),
    errno.ENAMETOOLONG: ("a name in the path is too long", "choose a shorter one"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "remove that file or choose another folder"),
}
_LARGEST_JSON = 200_000_000  # bytes
_MARKERS = (METADATA_FILE, "state.json", "metrics.json")  # what tells a published artifact from somebody's folder


@contextlib.contextmanager
def publish(folder: Path) -> Iterator[Path]:
    """Write an artifact so that it is whole or absent.
    Raises StoreError: `folder` holds something that is not an artifact; the disk is full; no permission.

    Yields a temporary sibling folder to write into; when the block ends without an error it takes the place of
    `folder`. An empty `folder` and an earlier artifact (a retried task) are replaced; anything else is left alone.
    """
    folder = Path(folder)
    partial = folder.parent / f".{folder.name}.partial-{os.getpid()}"
    with writing(folder):
        _check_replaceable(folder)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
            _replace(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the operating system says while writing `path` into a StoreError with the free space and the remedy."""
    try:
        yield
    except OSError as error:
        if error.errno not in _REMEDIES:
            raise
        place = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else path
        what, remedy = _REMEDIES[error.errno]
        message = f"{what} ({free_space(place)})" if remedy is _FULL else what
        raise StoreError(message, where=str(place), remedy=remedy) from error


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn a missing, unreadable or corrupt file into a StoreError that names it."""
    try:
        yield
    except FileNotFoundError as error:
        remedy = "give the folder of a complete artifact; if the task that makes it failed, run it again"
        raise StoreError("file not found", where=str(path), remedy=remedy) from error
    except (PermissionError, IsADirectoryError, NotADirectoryError) as error:
        remedy = "check the path and its permissions"
        raise StoreError(f"cannot be read: {error.strerror}", where=str(path), remedy=remedy) from error
    except (OSError, ValueError) as error:  # pyarrow's and json's decoding errors are ValueErrors
        raise _corrupt(path, error) from error


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write an object as indented JSON; raises StoreError if it cannot be written, or holds a NaN or infinity."""
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError as error:
        remedy = "see which value is not finite; JSON has no NaN or infinity"
        raise StoreError(f"cannot be written as JSON: {error}", where=str(path), remedy=remedy) from error
    write_text(path, text)


def write_text(path: Path, text: str) -> None:
    """Write a file, and the folders that it lies in, so that it is whole or as it was before."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_text(text, encoding="utf-8")
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Append a line whole or not at all, in a single write, so that readers never see two processes' lines mixed.
    Raises OSError: it cannot be written.
    """
    left = f"{line}\n".encode()
    with Path(path).open("ab", buffering=0) as file:
        start = file.tell()
        try:
            while left:
                left = left[file.write(left) :]
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(start)  # lest the next line be joined to what a full disk cut short
            raise


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines, none where there is no file; half-written and damaged lines are left out."""
    if not Path(path).exists():
        return []
    with reading(path):
        lines = Path(path).read_bytes().splitlines()
    found = []
    for line in lines:
        with contextlib.suppress(ValueError):
            found.append(parse_json(line))
    return [value for value in found if isinstance(value, dict)]


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raises StoreError if the file is missing, is not JSON, or holds something else."""
    with reading(path):
        if Path(path).stat().st_size > _LARGEST_JSON:
            raise _corrupt(path, ValueError(f"it is larger than {_LARGEST_JSON:,} bytes"))
        value = parse_json(Path(path).read_bytes())
        if not isinstance(value, dict):
            raise _corrupt(path, ValueError(f"a JSON object was expected, not {type(value).__name__}"))
        return value


def read_metadata(folder: Path) -> dict[str, Any]:
    """The metadata.json of an artifact."""
    return read_json(Path(folder) / METADATA_FILE)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors by name as safetensors; an empty mapping is allowed."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with writing(path):
        try:
            save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, str(path))
        except SafetensorError as error:  # it keeps the operating system's number only in its text
            number = re.search(r"os error (\d+)", str(error))
            code = int(number.group(1)) if number else errno.EIO
            raise OSError(code, str(error), str(path)) from error
        os.chmod(path, 0o644)  # safetensors makes its files private, unlike every other writer here


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file, on the CPU."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with reading(path):
        try:
            return load_file(str(path), backend="pread")  # a mapped file costs two numbers a tensor for good
        except SafetensorError as error:
            raise ValueError(str(error)) from error


def free_space(path: Path) -> str:
    """Free space of the file system that holds `path`, or would hold it, in words."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return f"{shutil.disk_usage(path).free / 1e6:,.1f} MB free"


def _corrupt(path: Path, error: Exception) -> StoreError:
    remedy = "it was cut short or altered: download a model again; of an artifact, delete the folder and run its task"
    return StoreError(f"cannot be read, it is corrupt ({error})", where=str(path), remedy=remedy)


def _check_replaceable(folder: Path) -> None:
    if not folder.is_dir() and not folder.exists():
        return
    if folder.is_dir():
        names = {entry.name for entry in folder.iterdir()}
        if not names or names & set(_MARKERS):
            return
    raise StoreError(
        "already exists and is not an artifact", where=str(folder), remedy="give the name of a new or empty folder"
    )


def _replace(partial: Path, folder: Path) -> None:
    """Rename; POSIX lets a folder replace an empty one, an earlier artifact is moved aside first."""
    if folder.is_dir() and any(folder.iterdir()):
        aside = folder.parent / f".{folder.name}.replaced-{os.getpid()}"
        os.replace(folder, aside)
        os.replace(partial, folder)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        os.replace(partial, folder)
