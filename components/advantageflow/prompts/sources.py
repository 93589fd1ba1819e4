"""Where prompts come from, checked against the reward, and which of the held-out ones are used."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from advantageflow.balance import balanced_counts
from advantageflow.errors import DataError
from advantageflow.prompts.files import WITHOUT_FILE, LocatedPrompt, read_file
from advantageflow.prompts.readers import READERS
from advantageflow.records import Prompt, derive_seed
from advantageflow.rewards.base import Reward
from advantageflow.rewards.plumbing.checks import check_readable
from advantageflow.settings import PromptSettings

EMBEDDED, EMBEDDED_HARD, GENEVAL, OCR = WITHOUT_FILE
_DEFAULTS = PromptSettings()
_S3 = "s3://"
FEW = 16  # held-out prompts; the interval of an accuracy over fewer is wider than 0.4

logger = logging.getLogger(__name__)


def is_local_file(source: str) -> bool:
    """Whether a source is the path of a file on this machine."""
    return source not in WITHOUT_FILE and not source.startswith(_S3)


def load_prompts(
    source: str,
    *rewards: Reward,
    count: int = _DEFAULTS.count,
    seed: int = _DEFAULTS.seed,
    columns: Mapping[str, str] = _DEFAULTS.columns.renamed,
    warn: Callable[[str], None] = logger.warning,
) -> list[Prompt]:
    """Read the prompts of a source and check that a run can use them; cheap enough to do before a run starts.

    Args:
        source: 'shapes', 'shapes-hard', 'geneval' or 'ocr', or a .txt, .jsonl, .csv, .tsv or .parquet file, or a folder
            of such, local or s3:// (a folder there ends in a slash).
        rewards: what will read their specs.
        count: training prompts of 'geneval' and 'ocr'.
        seed: of these.
        columns: what a file calls text, split, task and spec, where it has other names for them.
        warn: is told what a person should know, such as a held-out set too small to judge by.

    Raises:
        DataError: a prompt is invalid or contradicts another, a reward cannot read its spec, or a split has no prompts;
            names file and line.
        StoreError: a file on S3 cannot be fetched.
    """
    located = _read(source, count, seed, columns, warn)
    for reward in rewards:
        _check_specs(located, reward)
    prompts = [one.prompt for one in located]
    for split, use in {"train": "to train on", "eval": "held out to judge the policy by"}.items():
        if not any(prompt.split == split for prompt in prompts):
            remedy = f"{_HOLD_OUT} {split}" if not source.endswith(".txt") else f"{_TO_CSV} {split}"
            raise DataError(f"none of its {len(prompts)} prompts is {use}", where=source, remedy=remedy)
    held_out = sum(prompt.split == "eval" for prompt in prompts)
    if held_out < FEW:
        warn(f"{source}: only {held_out} of {len(prompts)} prompts are held out, too few to judge a policy by")
    return prompts


def select_held_out(prompts: Sequence[Prompt], count: int) -> list[Prompt]:
    """All training prompts, and at most `count` held-out ones balanced over tasks, in their order.

    Which ones are chosen depends on the prompts alone, so that runs with other seeds are judged alike.
    """
    held_out = [prompt for prompt in prompts if prompt.split == "eval"]
    sizes = Counter(prompt.task for prompt in held_out)
    counts = balanced_counts(sizes, min(count, len(held_out)))
    chosen: set[str] = set()
    for task, wanted in counts.items():
        ranked = sorted(
            (prompt for prompt in held_out if prompt.task == task), key=lambda p: derive_seed("held out", p.prompt_id)
        )
        chosen.update(prompt.prompt_id for prompt in ranked[:wanted])
    return [prompt for prompt in prompts if prompt.split == "train" or prompt.prompt_id in chosen]


_HOLD_OUT = "say in the field 'split' of some prompts"
_TO_CSV = "make it a .csv whose first line is text,split, and say of some prompts that they are"


def _read(
    source: str, count: int, seed: int, columns: Mapping[str, str], warn: Callable[[str], None]
) -> list[LocatedPrompt]:
    if source.startswith(_S3):
        return _read_from_s3(source, columns, warn)
    if is_local_file(source):
        path = Path(source)
        return _read_folder(path, source, columns, warn) if path.is_dir() else read_file(path, None, columns, warn)
    return [LocatedPrompt(prompt, f"{source} prompt '{prompt.text}'") for prompt in _generate(source, count, seed)]


def _generate(source: str, count: int, seed: int) -> list[Prompt]:
    if source == GENEVAL:
        from advantageflow.prompts.geneval import geneval_prompts

        return geneval_prompts(count, seed)
    if source == OCR:
        from advantageflow.prompts.ocr import ocr_prompts

        return ocr_prompts(count, seed)
    from advantageflow.shapes.prompts import all_prompts, hard_prompts

    return all_prompts() + (hard_prompts() if source == EMBEDDED_HARD else [])


def _read_from_s3(source: str, columns: Mapping[str, str], warn: Callable[[str], None]) -> list[LocatedPrompt]:
    from advantageflow.store.s3 import fetch_file

    with TemporaryDirectory() as folder:  # small, and may change between runs: no copy is kept
        if source.endswith("/"):
            from advantageflow.store.s3 import fetch_folder

            return _read_folder(fetch_folder(source, Path(folder)), source, columns, warn)
        return read_file(fetch_file(source, Path(folder)), source, columns, warn)


def _read_folder(
    folder: Path, shown: str, columns: Mapping[str, str], warn: Callable[[str], None]
) -> list[LocatedPrompt]:
    """The prompts of all files of a folder, in the order of their names; repeats across files are dropped."""
    found: dict[str, LocatedPrompt] = {}
    for file in sorted(path for path in folder.rglob("*") if path.suffix in READERS):
        for one in read_file(file, f"{shown.rstrip('/')}/{file.relative_to(folder)}", columns, warn):
            first = found.setdefault(one.prompt.text, one)
            if first.prompt != one.prompt:
                message = f"'{one.prompt.text}' has another split, task or spec than at {first.where}"
                raise DataError(message, where=one.where, remedy="remove one of the two")
    if not found:
        remedy = f"put in a file that ends in {', '.join(READERS)}"
        raise DataError("holds no prompts", where=shown, remedy=remedy)
    return list(found.values())


def _check_specs(located: Sequence[LocatedPrompt], reward: Reward) -> None:
    failures: list[tuple[LocatedPrompt, DataError]] = []
    for one in located:
        try:
            check_readable(reward, one.prompt)
        except DataError as error:
            failures.append((one, error))
    if failures:
        one, first = failures[0]
        where = f"{one.where}, {first.where}" if first.where else one.where
        more = f" (and {len(failures) - 1} more prompts)" if len(failures) > 1 else ""
        message = f"reward '{reward.name}' cannot read the spec of '{one.prompt.text}': {first.message}{more}"
        raise DataError(message, where=where, remedy=first.remedy) from first
