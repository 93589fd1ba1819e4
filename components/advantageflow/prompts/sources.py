"""Where prompts come from, checked against the reward, and which of them a run uses."""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from advantageflow.balance import balanced_counts
from advantageflow.errors import DataError
from advantageflow.prompts.files import WITHOUT_FILE, LocatedPrompt, read_files
from advantageflow.prompts.readers import READERS
from advantageflow.records import Prompt, derive_seed
from advantageflow.rewards.base import Reward
from advantageflow.rewards.plumbing.checks import check_readable
from advantageflow.settings import PromptSettings
from advantageflow.store.s3 import fetch_file, fetch_folder

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
        count, seed: of the training prompts of 'geneval' and 'ocr'.
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
            how = "make it a .csv whose first line is text,split, and " if source.lower().endswith(".txt") else ""
            message = f"none of its {len(prompts)} prompts is {use}"
            raise DataError(message, where=source, remedy=f"{how}give some of them the split '{split}'")
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
    chosen: set[str] = set()
    for task, wanted in balanced_counts(sizes, min(count, len(held_out))).items():
        of_task = [prompt.prompt_id for prompt in held_out if prompt.task == task]
        chosen.update(sorted(of_task, key=lambda prompt_id: derive_seed("held out", prompt_id))[:wanted])
    return [prompt for prompt in prompts if prompt.split == "train" or prompt.prompt_id in chosen]


def with_replay(
    prompts: Sequence[Prompt], known: Collection[str], replay_share: float | None, seed: int, *, fills: int = 0
) -> list[Prompt]:
    """All held-out prompts, all new training prompts, and as many old ones that they are this share of both, or `fills`
    with them where that is more, in order.

    Where none is new or none is old, or the share (in [0, 1)) is None, all prompts. Old ones are those whose ids are
    `known`; they are drawn by the seed with the number of all prompts, so that no old one is left out for ever.
    """
    train = [prompt for prompt in prompts if prompt.split == "train"]
    old = [prompt.prompt_id for prompt in train if prompt.prompt_id in known]
    new = len(train) - len(old)
    if replay_share is None or not new or not old:
        return list(prompts)
    ranked = sorted(old, key=lambda prompt_id: derive_seed(seed, "replay", len(prompts), prompt_id))
    count = min(len(old), max(round(new * replay_share / (1 - replay_share)), fills - new))
    left_out = set(ranked[count:])
    logger.info("%d training prompts are new, and %d of %d old ones are replayed", new, count, len(old))
    return [prompt for prompt in prompts if prompt.split == "eval" or prompt.prompt_id not in left_out]


def _read(
    source: str, count: int, seed: int, columns: Mapping[str, str], warn: Callable[[str], None]
) -> list[LocatedPrompt]:
    if is_local_file(source):
        return read_files(_files(Path(source), source), columns, warn)
    if source.startswith(_S3):
        with TemporaryDirectory() as folder:  # small, and may change between runs: no copy is kept
            fetched = fetch_folder if source.endswith("/") else fetch_file
            return read_files(_files(fetched(source, Path(folder)), source), columns, warn)
    return [LocatedPrompt(prompt, f"{source} prompt '{prompt.text}'") for prompt in _generate(source, count, seed)]


def _files(path: Path, source: str) -> dict[Path, str]:
    """A file, or all files of a folder in the order of their names; each with its name in the source."""
    if "/" in source and not path.exists():
        raise DataError("there is no such file or folder", where=f"prompts.source {source}", remedy="check the path")
    if not path.is_dir():
        return {path: source}
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in READERS)
    if not files:
        remedy = f"put in a file that ends in {', '.join(READERS)}"
        raise DataError("holds no prompts", where=source, remedy=remedy)
    return {file: f"{source.rstrip('/')}/{file.relative_to(path)}" for file in files}


def _generate(source: str, count: int, seed: int) -> list[Prompt]:
    if source == GENEVAL:
        from advantageflow.prompts.geneval import official_prompts, training_prompts

        return [*training_prompts(count, seed), *official_prompts()]
    if source == OCR:
        from advantageflow.prompts.ocr import ocr_prompts

        return ocr_prompts(count, seed)
    from advantageflow.shapes.prompts import all_prompts, hard_prompts

    return all_prompts() + (hard_prompts() if source == EMBEDDED_HARD else [])


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
