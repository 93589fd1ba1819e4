"""Lines for a person: printed as they are, as most hold a path, an address or a command to copy."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

_WIDE = 10_000


def say(console: Console, *lines: str, style: str | None = None) -> None:
    """Print lines without reading markup into them, colouring parts of them, or breaking them."""
    for line in lines:
        console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)


def warn(console: Console, message: str) -> None:
    """Print a warning."""
    say(console, f"warning: {message}", style="yellow")


def print_table(console: Console, table: Table) -> None:
    """Print a table: within a terminal's width, and elsewhere as wide as it is, so that whoever reads it finds names
    whole.
    """
    width = console.width
    console.width = width if console.is_terminal else _WIDE
    console.print(table)
    console.width = width
