"""The prompts artifact: texts, splits, tasks and specs."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from advantageflow.errors import DataError
from advantageflow.records import KNOWN_PROMPTS_FILE, PROMPTS_FILE, Prompt
from advantageflow.store.files import METADATA_FILE, publish, read_json, write_json
from advantageflow.store.tables import REMAKE, from_json, read_table, to_json, write_table

_COLUMNS = {"prompt_id": "string", "text": "string", "split": "string", "task": "string", "spec": "string"}


def write_prompts(
    folder: Path, prompts: Sequence[Prompt], metadata: Mapping[str, Any], known: Collection[str] = ()
) -> None:
    """Publish a prompts artifact; `known` are ids that are not new to whoever starts from this run's policy."""
    rows = [{**vars(one), "prompt_id": one.prompt_id, "spec": to_json(one.spec)} for one in prompts]
    with publish(folder) as partial:
        write_table(partial / PROMPTS_FILE, rows, _COLUMNS)
        write_json(partial / KNOWN_PROMPTS_FILE, {"prompts": sorted(known)})
        write_json(partial / METADATA_FILE, {**metadata, "prompts": len(rows)})


def read_prompts(folder: Path) -> list[Prompt]:
    """The prompts of an artifact, in file order.

    Raises:
        StoreError: the file is missing or corrupt.
        DataError: a column is missing, or a row is not what its prompt_id was made from.
    """
    path = Path(folder) / PROMPTS_FILE
    prompts = []
    for number, row in enumerate(read_table(path, _COLUMNS)):
        prompt = Prompt(row["text"], row["split"], row["task"], from_json(row["spec"], path, number, "spec"))
        if prompt.prompt_id != row["prompt_id"]:
            message = f"prompt_id {row['prompt_id']} does not belong to the text '{prompt.text}' and its spec"
            raise DataError(message, where=f"{path}: row {number}", remedy=REMAKE)
        prompts.append(prompt)
    return prompts


def read_known(folder: Path) -> frozenset[str]:
    """Ids of training prompts that a prompts artifact, or a registered policy, knows; none where it does not say."""
    path = Path(folder) / KNOWN_PROMPTS_FILE
    return frozenset(read_json(path)["prompts"]) if path.is_file() else frozenset()


def source_sha256(prompts: Sequence[Prompt]) -> str:
    """Of the prompts of a source, whatever their order and the files that they lie in."""
    lines = sorted(f"{one.prompt_id} {one.split} {one.task}" for one in prompts)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
