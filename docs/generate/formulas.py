"""Formulas: fences of language `math` hold LaTeX and become MathML, which browsers show without a script."""

from __future__ import annotations

from typing import Any

from latex2mathml.converter import convert


def formula(source: str, language: str, css_class: str, options: Any, md: Any, **_: Any) -> str:
    """A fence as MathML, in the signature that pymdownx.superfences asks for."""
    return convert(source, display="block")


FENCE = {"name": "math", "class": "math", "format": formula}
