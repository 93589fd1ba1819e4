"""Prompt files in our form and GenEval's are read; every mistake names its line."""

import json
import logging
import os
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from advantageflow.errors import DataError
from advantageflow.prompts.files import LocatedPrompt, read_files
from advantageflow.records import Prompt

GENEVAL = [
    '{"tag": "counting", "include": [{"class": "bed", "count": 2}], "exclude": [{"class": "bed", "count": 3}], '
    '"prompt": "a photo of two beds"}',
    '{"tag": "position", "include": [{"class": "dog", "count": 1}, {"class": "tie", "count": 1, '
    '"position": ["right of", 0]}], "prompt": "a photo of a dog right of a tie"}',
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "prompts.jsonl"


def read_file(
    path: Path, shown: str = "", columns: Mapping[str, str] | None = None, warn: Callable[[str], None] = print
) -> list[LocatedPrompt]:
    return read_files({path: shown or str(path)}, columns or {}, warn)


def write(file: Path, *records: Any) -> Path:
    file.write_text("\n".join(record if isinstance(record, str) else json.dumps(record) for record in records))
    return file


def read_one(file: Path, record: Any) -> Prompt:
    (located,) = read_file(write(file, record))
    return located.prompt


def test_our_own_form(file: Path) -> None:
    record = {"text": "a red circle", "split": "eval", "task": "colors", "spec": {"tag": "x", "n": 1}}
    assert read_one(file, record) == Prompt("a red circle", "eval", "colors", {"tag": "x", "n": 1})


def test_lines_of_geneval_as_they_are(file: Path) -> None:
    prompts = [located.prompt for located in read_file(write(file, *GENEVAL))]
    assert [prompt.text for prompt in prompts] == ["a photo of two beds", "a photo of a dog right of a tie"]
    assert [prompt.task for prompt in prompts] == ["counting", "position"]
    for prompt, line in zip(prompts, GENEVAL, strict=True):
        assert prompt.spec == {key: value for key, value in json.loads(line).items() if key != "prompt"}


@pytest.mark.parametrize(
    ("record", "task"),
    [
        ({"text": "x", "task": "a", "tag": "b"}, "a"),
        ({"text": "x", "tag": "b"}, "b"),
        ({"text": "x", "spec": {"tag": "c"}}, "c"),
        ({"text": "x"}, "all"),
    ],
)
def test_the_task_is_the_nearest_thing_given(file: Path, record: dict[str, Any], task: str) -> None:
    assert read_one(file, record).task == task


def test_blank_lines_a_byte_order_mark_and_outer_spaces_do_no_harm(file: Path) -> None:
    file.write_bytes(b'\xef\xbb\xbf{"text": " a "}\n\n   \n{"text": "b"}\n')
    assert [(located.prompt.text, located.where) for located in read_file(file)] == [("a", f"{file}:1"),
                                                                                     ("b", f"{file}:4")]  # fmt: skip


def test_a_missing_split_holds_out_a_tenth_stably_and_says_so(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    records = [{"text": f"prompt {k}"} for k in range(1000)]
    with caplog.at_level(logging.INFO, logger="advantageflow"):
        splits = {located.prompt.text: located.prompt.split for located in read_file(write(file, *records))}
    assert 70 <= list(splits.values()).count("eval") <= 130
    assert "1000 of 1000 prompts say no split" in caplog.text
    fewer = read_file(write(file, *records[::-7]))
    assert all(located.prompt.split == splits[located.prompt.text] for located in fewer)


def test_a_text_file_has_a_prompt_a_line(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(b'\xef\xbb\xbfa red circle\r\n\n# a comment\n  a sign that says "{}" \n')
    located = read_file(path)
    assert [(one.prompt.text, one.where) for one in located] == [
        ("a red circle", f"{path}:1"),
        ('a sign that says "{}"', f"{path}:4"),
    ]
    assert [(one.prompt.task, one.prompt.spec) for one in located] == [("all", {})] * 2


@pytest.mark.parametrize(
    ("name", "content", "where", "message"),
    [
        ("prompts.txt", b"a\nb\x1b[31m\n", ":2", "control character U\\+001B"),
        ("prompts.txt", b"a\n" + b"b" * 10_001, ":2", "10,001 characters"),
        ("prompts.txt", b"a\n" + b"b" * 1_000_001, ":2", "longer than 1,000,000 bytes"),
        ("prompts.txt", b"a\n\xff\n", ":2", "is not UTF-8"),
        ("prompts.txt", b"\n \n", "", "holds no prompts"),
        ("prompts.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', ":2", "is not UTF-8"),
        ("prompts.parquet", b"not parquet at all", "", "is not a Parquet file"),
        ("prompts.csv", b"text,task\na cat, asleep,x\n", ":2", "has 3 cells, the header has 2"),
        ("prompts.csv", b'text,task\n"a" cat,x\n', ":2", "is not CSV"),
        ("prompts.csv", b'text,task\n"a cat,x\n', ":2", "is not CSV"),
        ("prompts.csv", b"text,text\na,b\n", ":1", "two columns are called 'text'"),
        ("prompts.csv", b"text,spec\na,{\n", ":2", "'spec' is not JSON"),
        ("prompts.csv", b"a cat\na dog\n", ":2", "has no 'text'"),
        ("prompts.csv", b"text\n", "", "holds no prompts"),
        ("prompts.csv", b"", "", "holds no prompts"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, where: str, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_file(path)
    assert caught.value.where == f"{path}{where}"


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".parquet"])
def test_errors_name_the_file_that_a_copy_was_made_of(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"copy{suffix}"
    path.write_bytes(b"\xff\xff")
    with pytest.raises(DataError) as caught:
        read_file(path, shown=f"s3://bucket/prompts{suffix}")
    assert caught.value.where.startswith(f"s3://bucket/prompts{suffix}")
    assert str(tmp_path) not in str(caught.value)


def test_parquet_holds_the_same_columns(tmp_path: Path) -> None:
    path = tmp_path / "prompts.parquet"
    rows = [
        {"prompt": "a", "split": "train", "tag": "t", "include": [{"class": "bed", "count": 2, "color": None}]},
        {"prompt": "b", "split": None, "tag": "t", "include": [{"class": "bed", "count": 1, "color": "red"}]},
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    first, second = (located.prompt for located in read_file(path))
    assert first == Prompt("a", "train", "t", {"tag": "t", "include": [{"class": "bed", "count": 2}]})
    assert second.spec["include"] == [{"class": "bed", "count": 1, "color": "red"}]


def test_parquet_may_hold_the_spec_as_json(tmp_path: Path) -> None:
    path = tmp_path / "prompts.parquet"
    spec = {"include": [{"class": "bed", "count": 1, "position": ["left of", 0]}]}
    table = pa.table({"text": ["a"], "spec": [json.dumps(spec)], "made": [date(2026, 1, 2)]})
    pq.write_table(table, path)
    assert read_file(path)[0].prompt.spec == spec | {"made": "2026-01-02"}
    pq.write_table(table.append_column("thumbnail", [[b"png"]]), path)
    with pytest.raises(DataError, match="row 0: 'thumbnail' cannot be kept as JSON"):
        read_file(path)


def test_a_small_parquet_file_that_repeats_a_huge_text_is_refused_before_the_text_is_repeated(tmp_path: Path) -> None:
    path = tmp_path / "prompts.parquet"
    coded = pa.DictionaryArray.from_arrays(pa.array([0] * 1000), ["a" * 1_000_001])
    table = pa.table({"text": coded})
    pq.write_table(table, path, store_schema=False, dictionary_pagesize_limit=1 << 30, compression="zstd")
    assert path.stat().st_size < 10_000
    with pytest.raises(DataError, match="'text' holds a text of 1,000,001 bytes"):
        read_file(path)


def test_a_bad_row_of_parquet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "prompts.parquet"
    pq.write_table(pa.table({"text": ["a", "b"], "spec": ["{}", "{"]}), path)
    with pytest.raises(DataError, match="'spec' is not JSON") as caught:
        read_file(path)
    assert caught.value.where == f"{path}: row 1"


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{text: a}", "is not JSON"),
        ('{"text": "a", "spec": {"n": NaN}}', "NaN is not a JSON number"),
        ("[1]", "is [1], not an object"),
        ("null", "is None, not an object"),
        ({"prmpt": "a"}, "has no 'text' (its fields: prmpt)"),
        ({"text": 5}, "'text' is 5, not a text"),
        ({"prompt": "  "}, "'prompt' is '  ', not a text"),
        ({"text": "a", "prompt": "b"}, "'text' and 'prompt' differ"),
        ({"text": "a", "split": "tset"}, "'split' is 'tset'"),
        ({"text": "a", "split": 1}, "'split' is 1"),
        ({"text": "a", "split": ["train"]}, "'split' is ['train']"),
        ({"text": "a", "task": 3}, "'task' is 3, not a name"),
        ({"text": "a", "spec": "b"}, "'spec' is 'b', not an object"),
        ({"text": "a", "spec": {"include": 1}, "include": []}, "'include' differs from the spec's own"),
        ({"text": "a\0"}, "control character U+0000"),
        ({"text": "a", "task": "a\ud800"}, "half of a surrogate pair"),
        ('{"text": "a", "n": ' + "[" * 70 + "]" * 70 + "}", "nested more than 64 deep"),
        ('{"text": "a", "n": ' + "[" * 100_000, "is not JSON"),
        ('{"text": "a", "n": ' + "1" * 5000 + "}", "is not JSON"),
        ('{"text": "a", "n": 1e999}', "beyond the range"),
        ('{"text": "a", "n": "\\ud800"}', "half of a surrogate pair"),
    ],
)
def test_a_wrong_record_names_its_line_and_what_is_wrong(file: Path, record: Any, message: str) -> None:
    write(file, {"text": "the first line is good"}, record)
    with pytest.raises(DataError) as caught:
        read_file(file)
    assert caught.value.where == f"{file}:2"
    assert message in caught.value.message
    assert caught.value.remedy


def test_repeats_are_dropped_and_counted(file: Path) -> None:
    told: list[str] = []
    write(file, {"text": "a"}, {"text": "b", "n": 1}, {"prompt": " a "}, {"n": 1, "text": "b"}, {"text": "a"})
    assert [one.where for one in read_file(file, warn=told.append)] == [f"{file}:1", f"{file}:2"]
    assert told[0] == f"{file}: 3 of 5 prompts repeat an earlier one and were dropped"


@pytest.mark.parametrize(
    ("second", "what"), [({"tag": "x"}, "task and spec"), ({"split": "val", "n": 1}, "split and spec")]
)
def test_records_that_say_different_things_of_one_text_name_both_lines(
    file: Path, second: dict[str, Any], what: str
) -> None:
    write(file, {"text": "a", "split": "train"}, {"text": "b"}, {"text": "a", "split": "train", **second})
    with pytest.raises(DataError, match=f"'a' has another {what} than at {file}:1") as caught:
        read_file(file)
    assert caught.value.where == f"{file}:3"


@pytest.mark.parametrize("name", ["eval", "val", "Validation", "test", " valid "])
def test_the_held_out_split_has_several_names(file: Path, name: str) -> None:
    assert read_one(file, {"text": "a", "split": name}).split == "eval"


def test_unknown_fields_are_kept_in_the_spec_and_told(file: Path) -> None:
    told: list[str] = []
    write(file, {"text": "a", "spec": {"n": 1}, "splt": "val"}, {"text": "b", "include": [], "id": 7})
    first, second = (one.prompt.spec for one in read_file(file, warn=told.append))
    assert (first, second) == ({"n": 1, "splt": "val"}, {"include": [], "id": 7})
    kept = "kept in each prompt's spec: 'splt' (did you mean 'split'?), 'id'"
    assert told == [f"{file}: fields that only the reward may know, {kept}"]


CSV = """\
# a comment; then a header
caption,subset,spec,id
"a cat, ""asleep""
on a chair",val,"{""n"": 1}",7

# another
a dog,,,8
"""


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_with_columns_of_other_names(tmp_path: Path, separator: str) -> None:
    path = tmp_path / ("prompts.TSV" if separator == "\t" else "prompts.csv")
    path.write_text(CSV.replace(",", separator).replace(f"cat{separator}", "cat,"))
    told: list[str] = []
    cat, dog = read_file(path, columns={"text": "caption", "split": "subset"}, warn=told.append)
    assert (cat.where, cat.prompt) == (
        f"{path}:3",
        Prompt('a cat, "asleep"\non a chair', "eval", "all", {"n": 1, "id": "7"}),
    )
    assert (dog.prompt.text, dog.prompt.spec, dog.where) == ("a dog", {"id": "8"}, f"{path}:7")
    with pytest.raises(DataError, match="has no 'text'") as caught:
        read_file(path)
    assert "prompts.columns.text=FIELD" in caught.value.remedy
    with pytest.raises(DataError, match="no record has such a field") as caught:
        read_file(path, columns={"text": "caption", "split": "subst"})
    assert "did you mean 'subset'" in caught.value.remedy


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file_shows_what_a_line_looks_like(file: Path, content: str) -> None:
    file.write_text(content)
    with pytest.raises(DataError, match="holds no prompts") as caught:
        read_file(file)
    assert caught.value.where == str(file)
    assert '{"text":' in caught.value.remedy


@pytest.mark.parametrize(("make", "message"), [(Path, "No such file"), (os.mkfifo, "not a plain file")])
def test_a_file_that_is_not_there_is_named_and_a_pipe_is_not_waited_for(
    file: Path, make: Callable[[Path], object], message: str
) -> None:
    make(file)
    with pytest.raises(DataError, match=message) as caught:
        read_file(file)
    assert caught.value.where == str(file)


def test_a_file_of_another_kind_says_which_are_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a source of prompts") as caught:
        read_file(tmp_path / "prompts.xlsx")
    assert ".jsonl, .csv, .tsv or .parquet" in caught.value.remedy
