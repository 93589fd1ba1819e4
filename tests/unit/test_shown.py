"""What comes from outside is shown without its passwords and without what a terminal obeys."""

from __future__ import annotations

import html
import io
import logging
import time

import markdown_it
import pytest
from rich.progress import Progress, TextColumn
from rich.table import Table

from advantageflow.errors import StoreError
from advantageflow.shown import ShownFormatter, markdown, masked, printable
from advantageflow_pipelines.say import Console, say


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://me:secret@host/v1", "http://me:***@host/v1"),
        ("postgresql+psycopg2://me:se:cr@t@db:5432/mlflow", "postgresql+psycopg2://me:***@db:5432/mlflow"),
        ("see https://:secret@host and http://a:b@c", "see https://:***@host and http://a:***@c"),
        ("https://host/v1?token=secret&n=1", "https://host/v1?token=***&n=1"),
        ("postgresql://me:se/c?r#t@db/mlflow", "postgresql://me:***@db/mlflow"),
        (
            "https://b.s3/k?X-Amz-Credential=a&X-Amz-Signature=b&n=1",
            "https://b.s3/k?X-Amz-Credential=***&X-Amz-Signature=***&n=1",
        ),
        ("https://h/v1?access_token=a&API_KEY=b&monkey=c", "https://h/v1?access_token=***&API_KEY=***&monkey=c"),
        ("https://hf_0123456789abcdefghij@hub/x", "https://***@hub/x"),
        ("postgresql://a.person@db/mlflow", "postgresql://a.person@db/mlflow"),
        ("http://host:8000/a@b", "http://host:8000/a@b"),
        ("http://host:8000?a=b@c http://[::1]:80/a@b", "http://host:8000?a=b@c http://[::1]:80/a@b"),
        ("s3://bucket/key", "s3://bucket/key"),
        ("a: b@c", "a: b@c"),
    ],
)
def test_passwords_of_addresses_are_masked(address: str, shown: str) -> None:
    assert masked(address) == shown


@pytest.mark.parametrize("part", ["a", "a://b:", "@a://", "a+", "?a-", "[a", "*_`"])
def test_no_text_takes_long_to_show(part: str) -> None:
    text, started = "x://" + part * (20_000 // len(part)), time.process_time()
    assert markdown(text)
    assert time.process_time() - started < 2


def test_errors_never_hold_a_password() -> None:
    error = StoreError("no http://a:b@c", where="http://a:b@c", remedy="try http://a:b@c")
    assert "b@" not in str(error) + error.message + error.where + error.remedy


EVIL = "\udcff\x1b]0;owned\x07\x1b[2J[red]x[/red] \x9b31m\u202e :smile: http://me:secret@host"


def test_nothing_that_is_printed_is_obeyed() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=400)
    say(console, EVIL)
    console.print(EVIL, style="bold", highlight=False)
    table = Table("prompt", title=EVIL)
    table.add_row(EVIL)
    console.print(table)
    with Progress(TextColumn("{task.description}"), console=console, transient=True) as progress:
        progress.add_task(EVIL.replace("[", "("))
        progress.refresh()
    text = out.getvalue()
    assert text.count("[red]x[/red]") == 4
    assert ":smile:" in text
    assert not {"\x07", "\x9b", "\u202e", "\udcff"} & set(text)
    assert "\x1b]" not in text
    assert "\x1b[2J[" not in text
    assert "secret" not in text


def test_log_lines_are_shown_alike() -> None:
    record = logging.LogRecord("n", logging.INFO, "f", 1, "prompt %s", (EVIL,), None)
    assert ShownFormatter().format(record) == printable(f"prompt {EVIL}")
    assert printable("a\tb\nc\x1b") == "a\tb\nc\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    "text", ["<script>x</script>", "[a](http://b)", "![a](b)", "*a* `b` | c", "# a\n- b", "_a_ a_b", "&lt;"]
)
def test_markdown_shows_a_text_as_it_is(text: str) -> None:
    page = markdown_it.MarkdownIt("gfm-like", {"linkify": False}).render(f"| {markdown(text)} |\n|---|\n")
    cell = page.partition("<th>")[2].partition("</th>")[0]
    assert "<" not in cell
    assert html.unescape(cell) == " ".join(text.split())
