"""What commands print: texts as they are, as most hold a path, an address, a prompt or a command to copy."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from advantageflow.shown import printable

_WIDE = 10_000


class Console(RichConsole):
    """Obeys nothing that stands in what it prints: no markup, no control characters; masks passwords in addresses."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """The text as it may be shown, before it is measured."""
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Segments of which none but rich's own controls moves the cursor."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


def say(console: RichConsole, *lines: str, style: str | None = None) -> None:
    """Print lines without reading markup into them, colouring parts of them, or breaking them."""
    for line in lines:
        console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)


def warn(console: RichConsole, message: str) -> None:
    """Print a warning."""
    say(console, f"warning: {message}", style="yellow")


def print_table(console: RichConsole, table: Table) -> None:
    """Print a table: within a terminal's width, and elsewhere as wide as it is, so that whoever reads it finds names
    whole.
    """
    width = console.width
    console.width = width if console.is_terminal else _WIDE
    console.print(table)
    console.width = width


def quiet() -> None:
    """No progress bars and hints of libraries between the lines of a table."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()  # before diffusers is imported, which makes it talk
    transformers_logging.disable_progress_bar()
    from diffusers.utils import logging as diffusers_logging

    diffusers_logging.disable_progress_bar()
