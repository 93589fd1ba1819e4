"""Memory and time of the data path of a round: shards of rollouts written, read, scored; noise stands for images."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from advantageflow.records import Prompt, Rollout
from advantageflow.settings import RewardSettings
from advantageflow.store.files import write_json
from advantageflow.store.prompts import write_prompts
from advantageflow.store.rollouts import read_scores, rollout_writer
from advantageflow.tracking.events import read_events
from advantageflow.tracking.journal import stage_journal
from advantageflow_experiments.compare.style import picture

SHARDS = ((1, 256, 128), (1, 1024, 128), (1, 4096, 128))  # shards, images of each, and pixels of their sides
ROUND = ((64, 3750, 16),)  # 10,000 prompts x 24 rollouts; a PNG of noise takes 1 KB, at 128 pixels 50 KB
_GROUP = 24  # rollouts of one prompt
_CHUNK = 24  # images made at once


def measure_data_path(
    out: Path, sizes: Sequence[tuple[int, int, int]] = SHARDS, name: str = "data_path"
) -> list[dict[str, float]]:
    """Take shards through the data path, each size in a process of its own, and draw what they took.

    Args:
        out: folder of the figures, NAME.json and NAME.png.
        sizes: shards, images of each, and pixels of their sides, such as SHARDS and ROUND.

    Returns:
        For each size, after 1, 4, 16 and 64 of its shards: images so far, megabytes of their files, seconds of CPU, the
        process's peak of memory (MB) beyond what it began with, and the events for MLflow in the tasks' journals.
    """
    rows: list[dict[str, float]] = []
    for size in sizes:
        command = [sys.executable, "-m", __name__, *map(str, size)]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        rows += map(json.loads, told.splitlines())
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / f"{name}.json", {"rows": rows})
    _draw(rows, out / f"{name}.png")
    return rows


def _draw(rows: Sequence[dict[str, float]], file: Path) -> None:
    with picture(file, 8, 3) as figure:
        left, right = figure.subplots(1, 2)
        for axes, name, label in ((left, "peak_mb", "peak of memory (MB)"), (right, "seconds", "seconds of CPU")):
            axes.plot([row["images"] for row in rows], [row[name] for row in rows], marker="o")
            axes.set(xlabel="images", ylabel=label, ylim=(0, 1.1 * max(row[name] for row in rows)))


def _measure(shards: int, images: int, side: int) -> Iterator[dict[str, float]]:
    """Take shards through the data path here, one after the other."""
    from advantageflow.scoring.stage import run

    prompts = [Prompt(f"prompt {number}", "train", "noise") for number in range(-(-shards * images // _GROUP))]
    ids, settings = [prompt.prompt_id for prompt in prompts], RewardSettings(name="jpeg", column="incompressibility")
    file_mb, before, events = 0.0, _peak_mb(), 0
    started = time.process_time()
    for shard in range(shards):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            os.environ["ADVANTAGEFLOW_JOURNAL"] = str(root / "journal")
            numbers = range(shard * images, (shard + 1) * images)
            _write_shard(root / "rollouts", [Rollout(ids[n // _GROUP], 1, n % _GROUP, n) for n in numbers], side)
            write_prompts(root / "prompts", prompts[numbers[0] // _GROUP : numbers[-1] // _GROUP + 1], {})
            with stage_journal("reward", 1, shard):
                run(settings, prompts=root / "prompts", rollouts=root / "rollouts", scores_out=root / "scores")
            assert len(read_scores(root / "scores")) == images
            file_mb += (root / "rollouts" / "rollouts.parquet").stat().st_size / 1e6
            events += sum(event["event"] != "progress" for event in read_events(root / "journal"))
        if shard + 1 in (1, 4, 16, 64):
            yield {
                "images": (shard + 1) * images,
                "shards": shard + 1,
                "file_mb": file_mb,
                "seconds": time.process_time() - started,
                "peak_mb": _peak_mb() - before,
                "events": events,
            }


def _write_shard(folder: Path, rollouts: Sequence[Rollout], side: int) -> None:
    from advantageflow.rollout.stage import encode_png

    noise = np.random.default_rng(0)
    with rollout_writer(folder, {"round": 1}) as write:
        for first in range(0, len(rollouts), _CHUNK):
            part = rollouts[first : first + _CHUNK]
            pictures = noise.integers(0, 256, (len(part), side, side, 3), np.uint8)
            write(part, [*map(encode_png, pictures)])


def _peak_mb() -> float:
    """Of this program alone, unlike getrusage's, which a process inherits."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1e3


if __name__ == "__main__":
    for row in _measure(*map(int, sys.argv[1:4])):
        print(json.dumps(row), flush=True)
