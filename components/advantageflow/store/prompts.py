"""The prompts artifact: texts, splits, tasks and specs, with their text embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advantageflow.errors import DataError
from advantageflow.records import EMBEDDINGS_FILE, PROMPTS_FILE, Prompt
from advantageflow.store.files import METADATA_FILE, publish, read_tensors, write_json, write_tensors
from advantageflow.store.tables import REMAKE, check_tensors, from_json, read_table, to_json, write_table

if TYPE_CHECKING:
    from torch import Tensor

_COLUMNS = {"prompt_id": "string", "text": "string", "split": "string", "task": "string", "spec": "string"}


@dataclass(frozen=True)
class Embeddings:
    """Text embeddings of the prompts, computed once.

    Attributes:
        prompt_embeds: (N, L, D), rows as in prompts.parquet.
        pooled: (N, P).
        empty_prompt_embeds: (1, L, D), of the empty prompt, for guidance.
        empty_pooled: (1, P).
    """

    prompt_embeds: Tensor
    pooled: Tensor
    empty_prompt_embeds: Tensor
    empty_pooled: Tensor


def write_prompts(folder: Path, prompts: Sequence[Prompt], embeddings: Embeddings, metadata: Mapping[str, Any]) -> None:
    """Publish a prompts artifact; `embeddings` has one row for each prompt, in the same order."""
    rows = [
        {"prompt_id": p.prompt_id, "text": p.text, "split": p.split, "task": p.task, "spec": to_json(p.spec)}
        for p in prompts
    ]
    with publish(folder) as partial:
        write_table(partial / PROMPTS_FILE, rows, _COLUMNS)
        write_tensors(partial / EMBEDDINGS_FILE, vars(embeddings))
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


def read_embeddings(folder: Path, rows: int | None = None) -> Embeddings:
    """The text embeddings of a prompts artifact; `rows` is the number of prompts they must belong to.

    Raises:
        StoreError: the file is missing or corrupt.
        DataError: a tensor is missing, or their number is not `rows`.
    """
    path = Path(folder) / EMBEDDINGS_FILE
    tensors = read_tensors(path)
    names = list(Embeddings.__dataclass_fields__)
    check_tensors(tensors, names[:2], path, rows)
    check_tensors(tensors, names[2:], path, rows=1)
    return Embeddings(**{name: tensors[name] for name in names})
