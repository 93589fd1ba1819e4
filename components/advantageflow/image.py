"""The container image that stages run in, unless a pipeline is compiled for another one."""

from __future__ import annotations

from advantageflow import __version__

DEFAULT_IMAGE = f"advantageflow/stage:{__version__}"
