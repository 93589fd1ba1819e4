"""`advantageflow simulate-year`: weekly retrainings of the embedded model, with a broken reward and a crash."""

from pathlib import Path
from typing import Annotated

from typer import Option

from advantageflow_pipelines.say import Console


def simulate_year(
    output: Annotated[Path, Option("--output", "-o", help="New folder for the registry and the results.")],
    weeks: Annotated[int, Option(min=1, max=52, help="How many.")] = 52,
) -> None:
    """Simulate a year of weekly retrainings (some minutes on two cores); writes year.json and year.png."""
    import itertools
    import os

    from advantageflow_experiments.year.simulate import Year, plot_year

    console = Console()
    output = output.absolute()
    output.mkdir(parents=True)
    os.environ["XDG_CACHE_HOME"] = str(output / "cache")
    told = Year(output, lambda line: console.print(line, highlight=False, soft_wrap=True)).run(weeks)
    plot_year(told, output / "year.png")
    promoted = sum(one["outcome"] == "promoted" for one in told)
    falls = sum(later["accuracy"] < one["accuracy"] for one, later in itertools.pairwise(told))
    console.print(f"{promoted} promotions; the champion's accuracy fell {falls} times", highlight=False)
