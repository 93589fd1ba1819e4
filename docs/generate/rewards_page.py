"""The page of the rewards that come with the package, from their classes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module

from advantageflow.rewards.plumbing.registry import BUILT_IN, list_rewards

INTRODUCTION = """# Rewards

What comes with the package; `advantageflow rewards list` also shows what others have added. `reward.name` and
`reward.column` choose one, `reward.options.NAME=VALUE` reaches its constructor.
"""


def page() -> str:
    """The page's Markdown."""
    return "\n".join([INTRODUCTION, *_rewards()])


def _rewards() -> Iterator[str]:
    for reward in list_rewards():
        if reward.name not in BUILT_IN:
            continue
        module, _, name = BUILT_IN[reward.name].partition(":")
        made = getattr(import_module(module), name)
        yield f"## {reward.name}\n\n{inspect.getdoc(made) or ''}\n"
        if reward.columns:
            yield "| column | lowest | highest |\n|---|---|---|"
            yield from (f"| `{column}` | {low:g} | {high:g} |" for column, (low, high) in reward.columns.items())
            yield "\nHigher is better.\n" if reward.higher_is_better else "\nLower is better.\n"
