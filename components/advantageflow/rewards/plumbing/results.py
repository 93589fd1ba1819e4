"""What rewards are handed and give, held to the protocol: images, specs, numbers in range, details that are JSON."""

import io
import json
import math
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import getattr_static
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from advantageflow.errors import DataError, RewardError
from advantageflow.json_text import DEEPEST
from advantageflow.records import Prompt
from advantageflow.rewards.base import Result, Reward, planned_version
from advantageflow.shown import brief

MOST_PIXELS = 16_777_216  # 4096 x 4096
_FORMATS = ("PNG", "JPEG", "WEBP")  # of Pillow's dozens, some of which start other programs
LONGEST_DETAILS = 100_000  # characters of an image's details as JSON


def check_declaration(reward: Reward) -> None:
    """Hold what a reward says of itself to the protocol, types included; its weights are not loaded for its version.
    Raises RewardError: its name, version, columns or direction are not as they should be.
    """
    version = getattr_static(reward, "version")
    told = {part: getattr(reward, part) for part in ("name", "columns", "higher_is_better")}
    told |= {} if hasattr(version, "__get__") else {"version": version}
    try:
        _Declaration.model_validate(told)
    except ValidationError as error:
        first = error.errors()[0]
        message = f"{'.'.join(map(str, first['loc']))} is {first['input']!r}: {first['msg']}"
        remedy = "see advantageflow.rewards.base.Reward for what a reward declares"
        name = f"'{told['name']}'" if told["name"] and isinstance(told["name"], str) else type(reward).__name__
        raise RewardError(message, where=f"reward {name}", remedy=remedy) from error


def to_results(reward: Reward, samples: Sequence[str], given: Any) -> list[Result]:
    """Hold what a reward gave to what it declares.

    Args:
        samples: what to call each sample in an error.
        given: for each sample a pair of values by column and details, or the values alone, or a mapping that holds the
            columns and, under other names, details, or, where the reward has one column, a number. Arrays and tensors
            are taken for lists; a mapping of columns to arrays for the columns of all samples.

    Returns:
        Values as floats and details as JSON, for each sample.

    Raises:
        RewardError: there is not one for each sample, or one has a missing or undeclared column, a value that is not a
            finite number in the declared range, or details that JSON cannot hold; names the sample.
    """
    many = _listed(given)
    if isinstance(many, Mapping):
        columns = {name: _listed(values) for name, values in many.items()}
        for name, values in columns.items():
            _check_count(reward, samples, values, f" in '{name}'")
        many = [{name: values[number] for name, values in columns.items()} for number in range(len(samples))]
    _check_count(reward, samples, many, "")
    return [_result(reward, sample, one) for sample, one in zip(samples, many, strict=True)]


def wrong_result(reward: Reward, sample: str, message: str) -> RewardError:
    """The error of a reward that gave what it should not."""
    remedy = "mend the reward, or the range that it declares; a score is never guessed"
    return RewardError(message, where=place_of(reward, sample), remedy=remedy)


def place_of(reward: Reward, sample: str = "") -> str:
    """What errors call a reward, and a sample that it scores."""
    place = f"reward '{reward.name}' {planned_version(reward)}"
    return f"{place}, sample {sample}" if sample else place


def _check_count(reward: Reward, samples: Sequence[str], many: Any, of: str) -> None:
    if not isinstance(many, list):
        message = f"gave {brief(many)}{of}, not a score for each of {len(samples)} images"
        raise wrong_result(reward, "", message)
    if len(many) != len(samples):
        raise wrong_result(reward, "", f"gave {len(many)} scores{of} for {len(samples)} images")


def _result(reward: Reward, sample: str, given: Any) -> Result:
    values, details = _parts(reward, sample, given)
    if set(values) != set(reward.columns):
        raise wrong_result(
            reward, sample, f"gave columns {sorted(map(str, values))}, it declares {sorted(reward.columns)}"
        )
    numbered = {column: _number(reward, sample, column, value) for column, value in values.items()}
    try:
        kept = _jsonable(details, DEEPEST - 2)
        size = len(json.dumps(kept))
    except (TypeError, ValueError) as error:
        raise wrong_result(reward, sample, f"gave details that JSON cannot hold: {error}") from error
    if size > LONGEST_DETAILS:
        message = f"gave details of {size:,} characters, more than {LONGEST_DETAILS:,}"
        raise wrong_result(reward, sample, message)
    return numbered, kept


def _parts(reward: Reward, sample: str, given: Any) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Values and details of what was given for one sample."""
    if isinstance(given, Mapping):
        missing = [column for column in reward.columns if column not in given]
        if missing:
            message = (
                f"gave no '{missing[0]}', only {', '.join(map(str, given)) or 'nothing'}: what it gives is to be in "
            )
            message += f"its `columns`, for example {{{next(iter(given), 'red')!r}: (0, 1)}}"
            raise wrong_result(reward, sample, message)
        values = {column: given[column] for column in reward.columns}
        return values, {key: value for key, value in given.items() if key not in values}
    if isinstance(given, tuple | list) and len(given) == 2 and isinstance(given[0], Mapping):
        details = {} if given[1] is None else given[1]
        if not isinstance(details, Mapping):
            raise wrong_result(reward, sample, f"gave details {brief(details)}, not a dict")
        return dict(given[0]), details
    if len(reward.columns) == 1:
        if isinstance(given, list | tuple) and len(given) == 1:  # a row of (N, 1), as networks give them
            given = given[0]
        if not isinstance(given, list | tuple):
            return {next(iter(reward.columns)): given}, {}
    wanted = "a number or " if len(reward.columns) == 1 else ""
    wanted += f"a dict with {', '.join(map(repr, reward.columns))}"
    raise wrong_result(reward, sample, f"gave {brief(given)}, not {wanted}, which it declares")


def _number(reward: Reward, sample: str, column: str, given: Any) -> float:
    value, message = _listed(given), ""
    low, high = reward.columns[column]
    if isinstance(value, bool) or not isinstance(value, int | float):
        message = "which is not a number"
    elif not (low <= value <= high and abs(value) <= sys.float_info.max):  # nor is NaN
        message = "which is not finite" if math.isinf(high) else f"outside its declared range [{low}, {high}]"
    if message:
        raise wrong_result(reward, sample, f"gave {column} = {brief(value)}, {message}")
    return float(value)


def _listed(given: Any) -> Any:
    """Arrays, tensors and their scalars as lists and numbers; other iterables but texts and mappings as lists."""
    if hasattr(given, "tolist"):
        return given.tolist()
    if isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping | list | tuple):
        return list(given)
    return list(given) if isinstance(given, tuple) else given


def _jsonable(value: Any, left: int) -> Any:
    """The value as JSON holds it: numbers that are not finite as texts, halves of surrogate pairs replaced."""
    if left == 0:
        raise ValueError(f"nested more than {DEEPEST} deep")
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {_text(str(key)): _jsonable(item, left - 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_jsonable(item, left - 1) for item in value]
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    raise TypeError(f"{brief(value)} is of type {type(value).__name__}")


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _rising(limits: tuple[float, float]) -> tuple[float, float]:
    if not limits[0] < limits[1]:
        raise ValueError("not (lowest, highest)")
    return limits


def _in_a_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("not a line of printable text")
    return text


_Text = Annotated[str, Field(strict=True, min_length=1, max_length=500), AfterValidator(_in_a_line)]


class _Declaration(BaseModel):
    name: _Text
    version: _Text = "known once it is loaded"
    higher_is_better: bool = Field(strict=True)
    columns: dict[_Text, Annotated[tuple[float, float], AfterValidator(_rising)]] = Field(min_length=1)


def check_rgb(image: np.ndarray) -> None:
    """Raises ValueError if the image is not (H, W, 3) uint8, or has no pixels."""
    if image.dtype.name != "uint8" or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"expected an RGB image (H, W, 3) of uint8, got {image.shape} of {image.dtype}")


def decode_image(content: bytes) -> np.ndarray:
    """The pixels (H, W, 3), uint8, of a PNG, JPEG or WebP file.
    Raises ValueError: it cannot be read, or has more than MOST_PIXELS.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the bound below is stricter
            image = Image.open(io.BytesIO(content), formats=_FORMATS)
        with image:
            if image.width * image.height > MOST_PIXELS:  # known from the header, before anything is decoded
                size = f"{image.width:,} x {image.height:,} pixels"
                raise ValueError(f"it has {size}, more than {MOST_PIXELS:,}")
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:  # Pillow's, beside ValueError
        raise ValueError(str(error)) from error


def check_prompt(prompt: Prompt, check_spec: Callable[[dict[str, Any]], None]) -> None:
    """Hold a prompt's spec to a reward's rules: its DataError, whose `where` is the field, names the prompt too."""
    try:
        check_spec(prompt.spec)
    except DataError as error:
        where = f"prompt '{prompt.text}', spec {error.where}".rstrip()
        raise DataError(error.message, where=where, remedy=error.remedy) from error
