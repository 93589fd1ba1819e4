"""`advantageflow prompts`: what a source of prompts holds, and its prompts as a file."""

import json
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from typer import Argument, Option

from advantageflow.errors import DataError, StoreError
from advantageflow.prompts.sources import load_prompts
from advantageflow.records import Prompt
from advantageflow.settings import PromptSettings
from advantageflow.store.files import write_text
from advantageflow_pipelines.commands import options
from advantageflow_pipelines.say import Console, print_table, say, warn

prompts = typer.Typer(no_args_is_help=True, help="Prompts to train on and to judge by.")

_DEFAULTS = PromptSettings()

Source = Annotated[
    str,
    Argument(
        help="shapes, shapes-hard, geneval, ocr, or a .txt, .jsonl, .csv, .tsv or .parquet file, local or on s3://."
    ),
]
Seed = Annotated[int, Option("--seed", min=0, help="Of generated training prompts.")]


@prompts.command("show")
def show(
    source: Source,
    count: Annotated[int, Option("--count", "-n", min=0, help="Prompts to show, spread over the tasks.")] = 12,
    seed: Seed = _DEFAULTS.seed,
    column: options.Columns = None,
) -> None:
    """Show some of a source's prompts, and how many it has of each split and task."""
    console = Console()
    known = load_prompts(source, seed=seed, columns=options.columns(column), warn=partial(warn, console))
    samples = Table("split", "task", "prompt", title=f"some prompts of {source}", title_justify="left")
    for prompt in spread(known, count):
        samples.add_row(prompt.split, prompt.task, prompt.text)
    if count:
        print_table(console, samples)
    print_counts(console, known)


@prompts.command("write")
def write(
    source: Source,
    output: Annotated[Path, Option("--output", "-o", help="The .jsonl file to write; it may be a source again.")],
    count: Annotated[
        int, Option("--count", "-n", min=1, max=100_000, help="Training prompts to generate.")
    ] = _DEFAULTS.count,
    seed: Seed = _DEFAULTS.seed,
    column: options.Columns = None,
) -> None:
    """Write all prompts of a source as a .jsonl file, one a line with split, task and spec."""
    if output.suffix != ".jsonl":
        remedy = "give a name that ends in .jsonl"
        raise StoreError("is not a .jsonl file", where=f"--output {output}", remedy=remedy)
    console = Console()
    known = load_prompts(source, count=count, seed=seed, columns=options.columns(column), warn=partial(warn, console))
    _check_distinct(known, source)
    lines = (
        json.dumps({"text": one.text, "split": one.split, "task": one.task, "spec": one.spec}, ensure_ascii=False)
        for one in known
    )
    write_text(output, "".join(f"{line}\n" for line in lines))
    say(console, f"{output}: {len(known)} prompts")


def print_counts(console: Console, known: Sequence[Prompt]) -> None:
    """How many there are of each split and task."""
    table = Table("split", "task", "prompts", title=f"all {len(known)}", title_justify="left")
    for (split, task), number in sorted(Counter((one.split, one.task) for one in known).items(), reverse=True):
        table.add_row(split, task, str(number))
    print_table(console, table)


def _check_distinct(known: Sequence[Prompt], source: str) -> None:
    """Refuse what could not be read again: a file has each text once."""
    for text, number in Counter(prompt.text for prompt in known).items():
        if number > 1:
            message = f"'{text}' is there {number} times, in both splits; a file of prompts has each text once"
            raise DataError(message, where=source, remedy=f"use the source {source} itself, as prompts.source")


def spread(known: Sequence[Prompt], count: int) -> list[Prompt]:
    """At most `count` of the prompts: in turn of each task and split, evenly from its first to its last."""
    groups: dict[tuple[str, str], list[Prompt]] = {}
    for prompt in known:
        groups.setdefault((prompt.split, prompt.task), []).append(prompt)
    shares = dict.fromkeys(groups, 0)
    while sum(shares.values()) < min(count, len(known)):
        open_groups = [key for key in groups if shares[key] < len(groups[key])]
        shares[min(open_groups, key=lambda key: shares[key])] += 1
    return [of[number * len(of) // shares[key]] for key, of in groups.items() for number in range(shares[key])]
