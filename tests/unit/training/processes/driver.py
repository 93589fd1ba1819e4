"""Started in several processes: trains one call after the other as one group, so that imports are paid for once."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from advantageflow.runtime import parse_arguments
from advantageflow.tracking.journal import Journal, journal_in_use
from advantageflow.training.call import read_call
from advantageflow.training.group import joined


def main() -> None:
    """Arguments: the files of the calls."""
    with joined("cpu") as group:
        for file in sys.argv[1:]:
            call = read_call(file, Path())
            with journal_in_use(Journal(call.task, Path(call.journal) if call.journal and group.first else None)):
                module, _, name = call.function.partition(":")
                function = getattr(import_module(module), name)
                function(**parse_arguments(function, call.arguments), group=group)


if __name__ == "__main__":
    main()
