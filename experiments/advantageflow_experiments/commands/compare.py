"""`advantageflow compare`: variants of a run side by side, over seeds, as a table and pictures."""

from pathlib import Path
from typing import Annotated

from rich.table import Table
from typer import Argument, Option

from advantageflow.errors import SettingsError
from advantageflow_experiments.compare.plan import DEFAULT_PLAN, plan_names, plan_text
from advantageflow_pipelines.say import Console


def compare(
    plan: Annotated[
        str | None, Argument(help=f"Name of a plan (see --list), or a .yaml file; {DEFAULT_PLAN} if not given.")
    ] = None,
    seeds: Annotated[str | None, Option(help="Instead of the plan's, as in --seeds 0,1,2.")] = None,
    variants: Annotated[
        str | None, Option(help="Only these of the plan's, as in --variants advantage_flow,awm.")
    ] = None,
    jobs: Annotated[
        int | None, Option("--jobs", "-j", min=1, help="Runs at once; as many as the cores allow if not given.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        Option("--set", "-s", metavar="KEY=VALUE", help="Change a setting of all variants: --set rounds=2."),
    ] = None,
    out: Annotated[Path | None, Option("--out", "-o", help="New folder; one under runs/ if not given.")] = None,
    resume: Annotated[
        Path | None,
        Option(help="Continue the comparison in this folder: complete runs are kept, and all is drawn again."),
    ] = None,
    show_list: Annotated[bool, Option("--list", help="List the plans that come with the package.")] = False,
    show: Annotated[bool, Option("--show", help="Print PLAN, to be saved and changed as your own.")] = False,
) -> None:
    """Compare algorithms, or any settings, fairly and over several seeds.

    A plan names the variants. Each is run with every seed, as a whole pipeline run: on the same model, prompts and
    held-out images, with the same number of generated images; all of this is checked before anything starts. At the
    end there are a table with 95 % intervals and paired differences, pictures, and all runs in one MLflow experiment.

    With no PLAN: AdvantageFlow against DiffusionNFT, AWM and Flow-GRPO. For a question of your own, save a plan
    (`advantageflow compare regularisation --show > mine.yaml`), change it, and run `advantageflow compare mine.yaml`.
    """
    console = Console()
    if show_list:
        _show_plans(console)
        return
    if show:
        print(plan_text(plan or DEFAULT_PLAN), end="")
        return
    from advantageflow_experiments.compare.folder import open_folder
    from advantageflow_experiments.compare.runner import prepare, run_comparison

    if resume is not None:
        new = {"PLAN": plan, "--seeds": seeds, "--variants": variants, "--set": assignments or None, "--out": out}
        if given := [name for name, value in new.items() if value is not None]:
            remedy = f"leave {', '.join(given)} away, or start a new comparison without --resume"
            raise SettingsError("a comparison is continued as it was planned", where="--resume", remedy=remedy)
        run_comparison(console, *open_folder(resume), jobs)
    else:
        numbers = None if seeds is None else _numbers(seeds)
        names = None if variants is None else [name.strip() for name in variants.split(",")]
        prepared = prepare(plan or DEFAULT_PLAN, assignments or [], numbers, names, out)
        run_comparison(console, *prepared, jobs)


def _show_plans(console: Console) -> None:
    table = Table("plan", "what it asks")
    for name in plan_names():
        table.add_row(name, plan_text(name).partition("\n")[0].lstrip("# "))
    console.print(table)


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        remedy = "give whole numbers with commas between them, such as --seeds 0,1,2"
        raise SettingsError("not a list of seeds", where=f"--seeds {text}", remedy=remedy) from error
