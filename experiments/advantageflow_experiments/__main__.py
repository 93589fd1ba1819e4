"""`python -m advantageflow_experiments`: the `advantageflow` command with what this package adds to it."""

from collections.abc import Callable

from advantageflow_experiments.commands.bench import bench
from advantageflow_experiments.commands.compare import compare
from advantageflow_experiments.commands.pretrain import pretrain_shapes
from advantageflow_experiments.commands.year import simulate_year
from advantageflow_pipelines import cli

COMMANDS: dict[str, Callable[..., None]] = {  # as in pyproject.toml, by which the installed command finds them
    "bench": bench,
    "compare": compare,
    "simulate-year": simulate_year,
    "pretrain-shapes": pretrain_shapes,
}


def main() -> None:
    """Run a command, as `advantageflow` does."""
    known = {command.name for command in cli.app.registered_commands}
    for name, command in COMMANDS.items():
        if name not in known:
            cli.app.command(name)(command)
    cli.main()


if __name__ == "__main__":
    main()
