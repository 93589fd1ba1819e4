"""Transformer blocks compiled each by itself, so that blocks of a kind share the code; what is around them is not.

Most of a block's time on a GPU goes to passes over memory between its matrix products (norms, gates, residuals), which
the compiler joins. What it has compiled is kept in the user's cache folder, or where TORCHINDUCTOR_CACHE_DIR says, for
the processes that come after.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from advantageflow.errors import PolicyError
from advantageflow.policy.families import Family
from advantageflow.store.s3 import cache_folder

_VERSIONS = 64  # of a block: its kinds, times adapters, times shapes, with and without gradient
_COMPILERS = {"cuda": ("CC", "gcc", "clang"), "cpu": ("CXX", "g++", "clang++")}


def compile_blocks(transformer: nn.Module, family: Family, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile the blocks of a transformer, at their first call.

    Raises:
        PolicyError: the family names no blocks that this transformer has; or there is no C compiler.
    """
    blocks = [module for module in transformer.modules() if type(module).__name__ in family.blocks]
    if not blocks:
        message = f"{type(family).__name__} names no blocks that {type(transformer).__name__} has"
        raise _refusal(message, "name them in the family's `blocks`")
    variable, *usual = _COMPILERS[next(transformer.parameters()).device.type]
    named = os.environ.get(variable)
    if not any(map(shutil.which, [named] if named else usual)):
        message = f"there is no C compiler ({named or ' or '.join(usual)}), which torch.compile needs"
        raise _refusal(message, f"install {usual[0]}")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "compiled"))
    torch._dynamo.config.recompile_limit = _VERSIONS
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    for block in blocks:
        block.compile(fullgraph=True, backend=backend)


def _refusal(message: str, remedy: str) -> PolicyError:
    return PolicyError(message, where="model.compile", remedy=f"{remedy}, or set model.compile to false")
