"""JSON as strangers write it: what Python's reader lets through or breaks on is a ValueError in one sentence."""

import json
from typing import Any, NoReturn

DEEPEST = 64  # levels of objects and lists; the deepest thing that this package reads has 8


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError: not JSON, or JSON that nothing else could read: NaN and infinities,
    numbers beyond a float's range or of thousands of digits, deeper than DEEPEST, half of a surrogate pair.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    except ValueError as error:
        if "set_int_max_str_digits" in str(error):  # Python's own advice is none for whoever wrote the file
            raise ValueError("a number of thousands of digits") from error
        raise
    check_depth(value)
    if "\\u" in (text if isinstance(text, str) else text.decode("ascii", "ignore")):  # only an escape can bring one in
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError("a text holds half of a surrogate pair") from error
    return value


def check_json(value: Any) -> None:
    """Raise a ValueError or TypeError where a value cannot be kept as JSON and read back."""
    parse_json(json.dumps(value, allow_nan=False))


def check_depth(value: Any, left: int = DEEPEST) -> None:
    """Raise a ValueError where objects and lists are nested more than DEEPEST deep."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if left == 0 and items:
        raise ValueError(_TOO_DEEP)
    for item in items:
        check_depth(item, left - 1)


_TOO_DEEP = f"nested more than {DEEPEST} deep"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:20]} is beyond the range of numbers")
    return number
