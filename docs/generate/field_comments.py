"""The comment behind a field, as what the pages of the API say of it."""

from __future__ import annotations

from typing import Any

import griffe


class FieldComments(griffe.Extension):
    """Takes `# text` at the end of a field's line for its docstring."""

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Called by griffe with each attribute that it finds."""
        text = (attr.source or "").rpartition("\n")[2].partition("  # ")[2]
        if attr.docstring is None and text and not text.startswith(("noqa", "type:")):
            attr.docstring = griffe.Docstring(f"{text[0].upper()}{text[1:]}.", parent=attr)
