"""The parts of a policy as artifacts of their own, so that a task is given what it reads and no more.

    policy           state.json, policy/                                 what is judged, exported, shown
    rollout_policy   state.json, rollout_policy/, prompt_outcomes.json   what a round's rollouts are made with
    optimiser        state.json, optimizer.safetensors                   what training alone goes on from

Training reads and writes a whole policy: one folder with all of these, as it is published too. The parts of one policy
have equal states.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from advantageflow.errors import PolicyError, UserError
from advantageflow.records import HISTORY_FILE, OPTIMISER_FILE, ROLLOUT_ADAPTER_FOLDER, STATE_FILE
from advantageflow.store.files import publish
from advantageflow.store.manifest import files_of
from advantageflow.store.policies import REMEDY, read_policy_state


def divide_policy(folder: Path, rollout_policy: Path | None, optimiser: Path | None) -> None:
    """Move what only rollouts and training read out of a whole policy, each into an artifact of its own.

    Args:
        folder: the whole policy.
        rollout_policy: folder to write; None leaves that part where it is.
        optimiser: likewise.

    Raises:
        StoreError: it cannot be written.
    """
    for part, names in ((rollout_policy, (ROLLOUT_ADAPTER_FOLDER, HISTORY_FILE)), (optimiser, (OPTIMISER_FILE,))):
        if part is None:
            continue
        with publish(part) as partial:
            shutil.copyfile(folder / STATE_FILE, partial / STATE_FILE)
            for name in names:
                if (folder / name).exists():
                    shutil.move(folder / name, partial / name)


def policy_parts(folder: Path) -> list[Path]:
    """A whole policy, or a part of one with the others, which are outputs of the same task and so lie beside it."""
    if (folder / ROLLOUT_ADAPTER_FOLDER).is_dir() or not (folder / STATE_FILE).is_file():
        return [folder]
    state = (folder / STATE_FILE).read_bytes()
    states = [path for path in sorted(folder.absolute().parent.glob(f"*/{STATE_FILE}")) if path.read_bytes() == state]
    return [folder, *(path.parent for path in states if path.parent != folder.absolute())]


def policy_files(*parts: Path) -> dict[str, Path]:
    """Every file of a policy by its path in a whole one.

    Raises:
        PolicyError: a folder is not a policy, or is a part of another one than the first.
        StoreError: there is no such folder.
    """
    first = read_policy_state(parts[0])
    files: dict[str, Path] = {}
    for part in reversed(parts):
        if read_policy_state(part) != first:
            raise PolicyError(f"not a part of the same policy as {parts[0]}", where=str(part), remedy=REMEDY)
        files |= files_of(part)
    return files


@contextmanager
def joined_policy(*parts: Path) -> Iterator[Path]:
    """The whole policy that has these parts, as a folder of links, for as long as the block lasts.

    A single one is whole, and stays where it is. Errors that are raised in the block name the files themselves.

    Raises:
        PolicyError, StoreError: as `policy_files`.
    """
    if len(parts) == 1:
        yield parts[0]
        return
    files = policy_files(*parts)
    with tempfile.TemporaryDirectory(prefix="advantageflow-policy-") as folder:
        for path, file in files.items():
            link = Path(folder, path)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file.absolute())
        try:
            yield Path(folder)
        except UserError as error:
            for path, file in {**files, "": parts[0]}.items():
                place = str(Path(folder, path))
                error.where = error.where.replace(place, str(file))
                error.message = error.message.replace(place, str(file))
            raise
