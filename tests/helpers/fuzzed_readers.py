"""What reads things that people give, each with a good example, for inputs drawn at random; see tests/unit/fuzz."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from summaries import comparable

from advantageflow.configure import load_settings
from advantageflow.errors import StoreError
from advantageflow.golden_checks.pictures import check_golden_file, folder_pictures
from advantageflow.policy.saved import check_all_files
from advantageflow.prompts.sources import load_prompts
from advantageflow.records import Prompt
from advantageflow.rewards.geneval.scoring import Detection, score
from advantageflow.rewards.geneval.spec import check_spec
from advantageflow.rewards.plumbing.results import decode_image
from advantageflow.rewards.vlm import _verdict
from advantageflow.store.files import read_json, read_tensors, write_tensors
from advantageflow.store.manifest import manifest_of, parse_manifest
from advantageflow.store.policies import read_policy_state
from advantageflow.store.prompts import read_prompts, write_prompts
from advantageflow.store.rollouts import read_scores, write_scores
from advantageflow.tracking.events import read_events
from advantageflow_pipelines.local.summary import SHOWN, read_summary
from advantageflow_pipelines.local.workdir import WorkDir


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        good: a content that it reads.
        file: name of the file that the content is put into.
        read: reads the folder of that file.
    """

    good: bytes
    file: str
    read: Callable[[Path], object]


def _prompts(suffix: str, good: bytes) -> Target:
    return Target(good, f"p{suffix}", lambda folder: load_prompts(str(folder / f"p{suffix}"), warn=lambda said: None))


def _image(folder: Path) -> None:
    try:
        decode_image((folder / "picture").read_bytes())
    except ValueError as error:  # what its callers expect
        raise StoreError(str(error)) from error


def _spec(folder: Path) -> None:
    prompt = Prompt("a", "train", "t", read_json(folder / "spec.json"))
    check_spec(prompt.spec)
    score(prompt.spec, {"dog": [Detection(16, 0.9, (0.0, 0.0, 9.0, 9.0), color="red")]})


def _policy(folder: Path) -> None:
    state = read_policy_state(folder)
    assert [state.model, state.reward, state.prompts, state.trained]
    check_all_files(folder)


def targets(folder: Path) -> dict[str, Target]:
    """All readers by name; `folder` is a place for making good examples."""
    record = {"text": "a red circle", "split": "val", "task": "red", "spec": {"n": 1, "include": [{"class": "x"}]}}
    state = {"round": 1, "step": 2, "policy_sha256": None, "lora": None, "settings": {"model": {"name": "shapes"}},
             "provenance": {"seed": 0}}  # fmt: skip
    summary = dict.fromkeys(SHOWN) | {
        "preset": "shapes", "seed": 1, "base": {"strict": 0.5}, "rounds": [{"round": 1, "strict": 0.6}]
    }  # fmt: skip
    spec = {"tag": "position", "include": [{"class": "dog", "count": 1}, {
        "class": "cat", "count": 2, "color": "red", "position": ["left of", 0]}], "exclude": []}  # fmt: skip
    recorded = {"version": "1", "tolerance": {"bytes": 1.0}, "scores": {"a": {"bytes": 2.0}}}
    write_prompts(folder / "prompts", [Prompt("a", "train", "t", {"n": 1}), Prompt("b", "eval", "t")], {})
    write_scores(folder / "scores", [], ["soft"], {})
    write_tensors(folder / "t.safetensors", {"x": torch.ones(2, 2)})
    manifest = manifest_of({"a": folder / "t.safetensors"}).to_json()
    picture = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(picture, format="PNG")
    settings = (Path(__file__).parents[2] / "docs/examples/my_run.yaml").read_bytes()
    line = json.dumps(record).encode()
    events = b'{"time": 1, "event": "end", "task": "a"}\n'
    return {
        "prompts.txt": _prompts(".txt", b"a red circle\n# a comment\n" + b"".join(b"star %d\n" % n for n in range(20))),
        "prompts.jsonl": _prompts(".jsonl", line + b"\n" + line + b'\n{"prompt": "b", "tag": "t"}\n'),
        "prompts.csv": _prompts(".csv", b'text,split,spec\n"a, b",train,"{""n"": 1}"\nc,val,\n'),
        "prompts.tsv": _prompts(".tsv", b"text\tsplit\na\ttrain\nb\teval\n"),
        "prompts.parquet": _prompts(".parquet", (folder / "prompts/prompts.parquet").read_bytes()),
        "settings": Target(settings, "run.yaml", lambda one: load_settings(None, one / "run.yaml")),
        "override": Target(b"rollout.group_size=8", "set", lambda one: load_settings(
            None, None, [(one / "set").read_bytes().decode("utf-8", "surrogateescape")])),
        "policy": Target(json.dumps(state).encode(), "state.json", _policy),
        "tensors": Target((folder / "t.safetensors").read_bytes(), "t.st", lambda one: read_tensors(one / "t.st")),
        "prompts artifact": Target((folder / "prompts/prompts.parquet").read_bytes(), "prompts.parquet", read_prompts),
        "scores metadata": Target((folder / "scores/metadata.json").read_bytes(), "metadata.json", lambda one: (
            (one / "scores.parquet").write_bytes((folder / "scores/scores.parquet").read_bytes()), read_scores(one))),
        "metrics": Target(json.dumps(summary).encode(), "metrics.json", lambda one: read_json(one / "metrics.json")),
        "summary": Target(json.dumps(summary).encode(), "summary.json", lambda one: comparable(
            read_summary(WorkDir(one)))),
        "manifest": Target(manifest, "manifest.json", lambda one: parse_manifest(
            (one / "manifest.json").read_bytes(), "s3://bucket/manifest.json")),
        "journal": Target(events * 3, "a.jsonl", read_events),
        "reply of a judge": Target(b'{"reason": "red", "score": 7}', "reply", lambda one: _verdict(
            (one / "reply").read_bytes().decode("utf-8", "replace"))),
        "picture": Target(picture.getvalue(), "picture", _image),
        "pictures": Target(b'{"image": "a.png", "text": "a", "spec": {"n": 1}}\n', "prompts.jsonl", lambda one: (
            (one / "a.png").write_bytes(picture.getvalue()), folder_pictures(one))),
        "recorded scores": Target(json.dumps({"jpeg": recorded}).encode(), "golden.json", lambda one: (
            check_golden_file(one / "golden.json", ["jpeg"]))),
        "spec": Target(json.dumps(spec).encode(), "spec.json", _spec),
    }  # fmt: skip
