"""Nothing that a person can give ends in a traceback, hangs or takes memory without bound: inputs drawn at random.

The suite draws few, always the same. By hand, 120,000 in all: FUZZ=6000 pytest -n0 tests/unit/fuzz
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import warnings
from pathlib import Path

import fuzzed_readers as readers
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from advantageflow.errors import UserError

DRAWN = int(os.environ.get("FUZZ", "12"))
MOST_MEMORY = 1_500_000  # kB that the process may have had in all: what it imports takes half of that
NAMES = ["prompts.txt", "prompts.jsonl", "prompts.csv", "prompts.tsv", "prompts.parquet", "settings", "override",
         "policy", "tensors", "prompts artifact", "scores metadata", "metrics", "summary", "manifest", "journal",
         "reply of a judge", "picture", "pictures", "recorded scores", "spec"]  # fmt: skip
NASTY = [b"\0", b"\xff\xfe", b"[" * 5000, b"{" * 300, b'{"a":' * 200, b"1" * 5000, b"1e999", b"-.inf", b"NaN",
         b"\\ud800", b"\xed\xa0\x80", b"\x1b[31m", b"a" * 20_000, b"\n", b'"', b"'", b"&a *a", b"!!python/object:x",
         b"- ", b"{{$.inputs}}", b"null", b"true", b"[]", b"{}", b"0", b"-1", b"http://u:p@h/"]  # fmt: skip

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """Content that is good but for a few places; or JSON of the good one's shape with other values; or anything."""
    kind = draw(st.sampled_from(["places", "places", "values", "anything"]))
    if kind == "anything":
        return draw(st.binary(max_size=200))
    if kind == "values":
        with contextlib.suppress(ValueError):
            value = json.loads(good if good.count(b"\n}") else good.splitlines()[0])
            for _ in range(draw(st.integers(1, 3))):
                value[draw(st.sampled_from(sorted(value)))] = draw(values)
            return json.dumps(value).encode()
    content = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        length = draw(st.integers(0, 8))
        content[start : start + length] = draw(st.sampled_from(NASTY) | st.binary(max_size=6))
    return bytes(content)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, readers.Target]:
    return readers.targets(tmp_path_factory.mktemp("good"))


def test_every_reader_has_its_turn(known: dict[str, readers.Target]) -> None:
    assert sorted(known) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_reads_or_says_in_one_message_what_is_wrong(
    name: str, known: dict[str, readers.Target], tmp_path: Path
) -> None:
    target = known[name]
    (tmp_path / target.file).write_bytes(target.good)
    target.read(tmp_path)

    @settings(
        max_examples=DRAWN, deadline=5000, database=None, derandomize=DRAWN < 100,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(damaged(target.good))
    def read(content: bytes) -> None:
        (tmp_path / target.file).write_bytes(content)
        with warnings.catch_warnings(), contextlib.suppress(UserError):
            warnings.simplefilter("ignore")
            target.read(tmp_path)

    for nasty in NASTY:
        read = example(nasty)(example(target.good + nasty)(example(nasty + target.good)(read)))
    read()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < MOST_MEMORY
