"""Files in a folder, written and read back: what is published."""

from __future__ import annotations

from pathlib import Path

POLICY = {"state.json": b"{}", "policy/weights.bin": bytes(range(256)) * 300, "empty": b""}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
