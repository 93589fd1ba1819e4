"""The conditioning artifact: what conditions the model for each prompt, of which a task reads the rows that it needs.

Without a store the file is in the artifact. With one (`store.url`) it is published there, and the artifact names the
place: Kubeflow copies a whole artifact into every task that takes it, and of this one most tasks need little.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advantageflow.annotations import Conditioning, Tensor
from advantageflow.errors import DataError
from advantageflow.records import CONDITIONING_FILE, Prompt
from advantageflow.store.files import METADATA_FILE, publish, read_metadata, write_json
from advantageflow.store.published import join, publish_in_version
from advantageflow.store.tensor_rows import TensorRows, write_rows

_BATCH = 64  # rows that are written at once
FOLDER = "conditioning"  # below the store


@dataclass(frozen=True)
class StoredConditioning:
    """The conditioning of a run's prompts."""

    place: str  # of the file, a path or an address: a row for each prompt, and a last one for guidance
    prompts: int  # how many there are

    def rows(self, rows: Sequence[int]) -> Conditioning:
        """The conditioning of the prompts with these numbers, in this order; reads nothing else.
        Raises DataError: it is not that of so many prompts.
        """
        from advantageflow.policy.conditioning import Conditioning

        file = TensorRows(self.place)
        for name, tensor in file.tensors.items():
            if tensor.shape[0] != self.prompts + 1:
                message = f"'{name}' has {tensor.shape[0]} rows, not one for each of {self.prompts} prompts and another"
                raise DataError(message, where=self.place, remedy="run the prompts task again")
        return Conditioning(file.rows(rows))

    def unconditional(self) -> Conditioning:
        """That of the text which guidance leads away from: one row."""
        return self.rows([self.prompts])


def write_conditioning(
    folder: Path,
    prompts: Sequence[Prompt],
    rows: Callable[[Sequence[int]], Conditioning],
    metadata: Mapping[str, Any],
    store: str | None = None,
) -> None:
    """Publish a conditioning artifact of prompts, in the order of the prompts artifact.

    `rows` gives the conditioning of the prompts with these numbers, of which len(prompts) is the text which guidance
    leads away from. The file goes into the artifact, or to the address of a store.
    """
    count = len(prompts) + 1

    def batches() -> Iterator[Mapping[str, Tensor]]:
        for start in range(0, count, _BATCH):
            yield rows(range(start, min(start + _BATCH, count))).tensors

    told = {**metadata, "prompts": len(prompts), "prompt_ids": _digest(prompts)}
    with publish(folder) as partial:
        file = partial / CONDITIONING_FILE
        write_rows(file, count, batches())
        if store is not None:
            place = publish_in_version({CONDITIONING_FILE: file}, join(store, FOLDER))
            told["place"] = join(place, CONDITIONING_FILE)
            file.unlink()
        write_json(partial / METADATA_FILE, told)


def open_conditioning(folder: Path, prompts: Sequence[Prompt]) -> StoredConditioning:
    """The conditioning of all prompts of the prompts artifact, nothing of which is read yet.
    Raises DataError: it belongs to other prompts.
    """
    told = read_metadata(folder)
    if told.get("prompt_ids") != _digest(prompts):
        remedy = "give prompts and conditioning of the same prompts task"
        raise DataError("it is the conditioning of other prompts", where=str(folder), remedy=remedy)
    return StoredConditioning(str(told.get("place", Path(folder) / CONDITIONING_FILE)), len(prompts))


def _digest(prompts: Sequence[Prompt]) -> str:
    return hashlib.sha256("\n".join(prompt.prompt_id for prompt in prompts).encode()).hexdigest()[:16]
