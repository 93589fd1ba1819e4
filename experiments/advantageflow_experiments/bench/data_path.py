"""Memory and time of the data path between rollout and reward, by the images of a shard; noise stands for images."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from advantageflow.records import Rollout
from advantageflow.store.files import write_json

SIZES = (256, 1024, 4096)
_SIDE = 128  # pixels; noise does not compress, so a PNG of it takes 50 KB
_CHUNK = 24  # rollouts of one prompt


def measure_data_path(out: Path, sizes: Sequence[int] = SIZES) -> list[dict[str, float]]:
    """Write and read shards of growing size, each in a process of its own, and draw what they took.

    Returns:
        By shard: images, megabytes of its file, seconds of CPU, and the process's peak of memory (MB) beyond what it
        began with.
    """
    rows = []
    for size in sizes:
        command = [sys.executable, "-m", __name__, str(size)]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        rows.append(json.loads(told))
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "data_path.json", {"shards": rows})
    _draw(rows, out / "data_path.png")
    return rows


def _draw(rows: Sequence[dict[str, float]], file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    for axes, name, label in zip(
        figure.subplots(1, 2), ("peak_mb", "seconds"), ("peak of memory (MB)", "seconds of CPU"), strict=True
    ):
        axes.plot([row["file_mb"] for row in rows], [row[name] for row in rows], marker="o")
        axes.set(xlabel="images of the shard (MB)", ylabel=label, ylim=(0, 1.1 * max(row[name] for row in rows)))
    figure.savefig(file, dpi=120)


def _measure(size: int) -> dict[str, float]:
    """Write and read one shard here."""
    import numpy as np

    from advantageflow.rewards.plumbing.inputs import decode_image
    from advantageflow.rollout.stage import encode_png
    from advantageflow.store.rollouts import read_images, read_rollouts, rollout_writer

    noise = np.random.default_rng(0)
    before, started = _peak_mb(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        shard = Path(folder) / "rollouts"
        with rollout_writer(shard, {}) as write:
            for first in range(0, size, _CHUNK):
                count = min(_CHUNK, size - first)
                pictures = noise.integers(0, 256, (count, _SIDE, _SIDE, 3), np.uint8)
                write(
                    [Rollout(f"{first:016x}", 1, index, index) for index in range(count)], [*map(encode_png, pictures)]
                )
        assert len(read_rollouts(shard)) == size
        assert sum(decode_image(png).shape == (_SIDE, _SIDE, 3) for _, png in read_images(shard)) == size
        file_mb = (shard / "rollouts.parquet").stat().st_size / 1e6
    return {
        "images": size,
        "file_mb": file_mb,
        "seconds": time.process_time() - started,
        "peak_mb": _peak_mb() - before,
    }


def _peak_mb() -> float:
    """Of this program alone, unlike getrusage's, which a process inherits."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1e3


if __name__ == "__main__":
    print(json.dumps(_measure(int(sys.argv[1]))))
