"""Where compiled blocks are kept for the processes that come after, and what is unfinished there."""

import fcntl
import os
import shutil
import time
from functools import cache
from pathlib import Path
from typing import TextIO

from advantageflow.store.s3 import cache_folder

_UNFINISHED = "_CxxBuild"  # torch's ending of the folder beside a library for as long as it is being made
_LONGEST = 3600.0  # seconds that a library takes at most


def use_compiler_cache() -> Path:
    """Keep what is compiled in the user's cache folder, or where TORCHINDUCTOR_CACHE_DIR says; returns the folder.

    A process that was killed while it compiled leaves a library that is cut off, and that torch would load. It is
    dropped here, unless another process that may be making it is at work.
    """
    folder = Path(os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "compiled")))
    folder.mkdir(parents=True, exist_ok=True)
    _take_part(folder)
    return folder


@cache  # once in a process, which keeps the lock until it ends
def _take_part(folder: Path) -> TextIO:
    lock = (folder / "in-use").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone = True
    except BlockingIOError:
        alone = False
    for left in folder.glob(f"*/*{_UNFINISHED}"):
        if alone or left.stat().st_mtime < time.time() - _LONGEST:
            for file in left.parent.glob(f"{left.name.removesuffix(_UNFINISHED)}.*"):
                file.unlink(missing_ok=True)
            shutil.rmtree(left, ignore_errors=True)
    fcntl.flock(lock, fcntl.LOCK_SH)
    return lock
