"""The comment behind a field, or above it, as what the pages of the API say of it."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

import griffe


class FieldComments(griffe.Extension):
    """Takes `# text` at the end of a field's line, or the lines of it above, for its docstring."""

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Called by griffe with each attribute that it finds."""
        text = (attr.source or "").rpartition("\n")[2].partition("  # ")[2]
        if not text and attr.lineno and attr.parent and attr.parent.is_class:
            before = attr.lines_collection[attr.filepath][: attr.lineno - 1][::-1]
            above = takewhile(lambda line: line.startswith("#"), map(str.strip, before))
            text = " ".join([line.lstrip("# ") for line in above][::-1])
        if attr.docstring is None and text and not text.startswith(("noqa", "type:")):
            attr.docstring = griffe.Docstring(f"{text[0].upper()}{text[1:].rstrip('.')}.", parent=attr)
