"""Options that several commands share in groups: a command asks for what they make, and gets the options instead."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

Command = Callable[..., Any]


def expanding(**makers: Callable[..., Any]) -> Callable[[Command], Command]:
    """Replace parameters of a command by the options that they are made from.

    Args:
        makers: by parameter, the function that makes its value; its parameters are the options, as typer reads them.

    Returns:
        A decorator. The command's own options come first in its help, then those of the makers, in order.
    """

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        options = {name: inspect.signature(maker, eval_str=True).parameters for name, maker in makers.items()}

        @functools.wraps(command)
        def with_options(**values: Any) -> Any:
            made = {name: makers[name](**{option: values.pop(option) for option in options[name]}) for name in makers}
            return command(**values, **made)

        own = [parameter for name, parameter in signature.parameters.items() if name not in makers]
        shared = [option for group in options.values() for option in group.values()]
        parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in (*own, *shared)]
        with_options.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        with_options.__annotations__ = {one.name: one.annotation for one in parameters}
        return with_options

    return decorate


def later(maker: Callable[..., Any]) -> Callable[..., Any]:
    """A maker of the same options that gives a function to call where the value is needed; its `keywords` are those."""

    @functools.wraps(maker)
    def thunk(**values: Any) -> functools.partial[Any]:
        return functools.partial(maker, **values)

    return thunk
