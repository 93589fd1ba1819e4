"""`advantageflow bench`: how fast rollouts and training are, and where the time of other trainers goes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from rich.table import Table
from typer import Option

from advantageflow.settings import RunSettings
from advantageflow_pipelines.commands import options
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.say import Console, quiet, say

Case = Literal["speed", "block", "loaded", "data", "round", "soak"]


def bench(
    preset: options.Preset = None,
    case: Annotated[
        Case,
        Option(
            help="speed; block: count, on the CPU, what a transformer block of SD3.5-Medium does beside its matrix "
            "products; loaded: a training round beside --load busy processes; data: memory and time of shards of "
            "noise; round: of 10,000 prompts x 24 rollouts; soak: memory, files, threads and rounds of one process for "
            "--minutes."
        ),
    ] = "speed",
    minutes: Annotated[float, Option(min=0.1, help="Of the case 'soak'.")] = 120.0,
    load: Annotated[int, Option(min=1, help="Busy processes of the case 'loaded'.")] = 8,
    device: Annotated[
        Literal["cpu", "cuda"], Option(help="cuda: SD3.5-Medium's shape with random weights, on a GPU.")
    ] = "cpu",
    repeats: Annotated[int, Option(min=1, help="Of every row, in turn.")] = 5,
    threads: Annotated[
        int | None, Option(min=1, help="CPU threads; the preset's training threads if not given.")
    ] = None,
    output: Annotated[Path, Option("--out", "-o", help="Folder for bench.json and bench.png.")] = Path("bench"),
    seed: Annotated[int, Option(min=0, help="Seed of weights, draws and noise.")] = 0,
    checkpointing: Annotated[
        bool, Option("--checkpointing", help="With cuda: recompute activations, which takes less memory.")
    ] = False,
    compiled: Annotated[
        bool, Option("--compile", help="Compile the transformer's blocks on the CPU too, as model.compile does.")
    ] = False,
) -> None:
    """Measure the throughput of rollouts and training.

    Trains one round in the loop order of earlier trainers, then with one saving after another, up to this package's own
    training: same draws, same loss, same gradient. Rows are measured in turn, so that what disturbs one disturbs all.
    """
    from advantageflow_experiments.bench.run import check_choice, run_bench

    console = Console()
    settings = choose_settings(preset=preset)
    check_choice(device, checkpointing)
    quiet()
    threads = threads or settings.training.threads
    if case == "soak":
        from advantageflow_experiments.bench.soak import soak

        say(console, *map(str, soak(minutes, output)))
        return
    if case != "speed":
        say(console, *_other_case(case, settings, load, repeats, threads, output))
        return
    with console.status("setting up") as status:
        report = run_bench(
            settings, device=device, repeats=repeats, threads=threads, seed=seed,
            checkpointing=checkpointing, compiled=compiled, out=output, progress=status.update,
        )  # fmt: skip
    show_report(console, report)
    console.print(f"written to {output}: bench.json, bench.png", highlight=False, markup=False, soft_wrap=True)


def _other_case(case: Case, settings: RunSettings, load: int, repeats: int, threads: int, output: Path) -> list[str]:
    """What was found, in lines."""
    if case in ("data", "round"):
        from advantageflow_experiments.bench.data_path import ROUND, measure_data_path

        return [
            f"{row['images']:,} images, {row['file_mb']:,.0f} MB: {row['seconds']:.1f} s of CPU, "
            f"{row['peak_mb']:,.0f} MB"
            for row in (measure_data_path(output, ROUND, "round") if case == "round" else measure_data_path(output))
        ]
    if case == "loaded":
        from advantageflow_experiments.bench.loaded import measure_loaded

        found = measure_loaded(settings, load=load, repeats=repeats, threads=threads, out=output)
        return [f"{name}: {seconds:.1f} s a round" for name, seconds in found.items()]
    import torch

    from advantageflow_experiments.bench.passes import count_compiled, count_eager, write_block

    torch.set_num_threads(threads)
    counted = {"eager": count_eager(), "compiled": count_compiled()}
    write_block(counted, output)
    return [
        "the first block of SD3.5-Medium, one training sample of 512 pixels, forward and backward:",
        *(
            f"{name}: {one.kernels} kernels ({one.small} of less than 1 MB) move {one.bytes / 1e9:.2f} GB beside "
            f"{one.products} matrix products, {one.product_bytes / 1e9:.2f} GB"
            for name, one in counted.items()
        ),
    ]


def show_report(console: Console, report: Mapping[str, Any]) -> None:
    """Print what was measured, and how."""
    say(console, *_lines(report))
    console.print(_table(report))


def _lines(report: Mapping[str, Any]) -> list[str]:
    shape, round_, machine, flops = (report[name] for name in ("shape", "round", "machine", "flops"))
    memory, gpu = report["peak_memory"], report["gpu"]
    peer, faster, cheaper = (report["best_peer"][name] for name in ("samples_per_second", "speedup", "speedup_by_cpu"))
    versions = ", ".join(f"{name} {machine[f'version.{name}']}" for name in ("torch", "diffusers", "peft"))
    return [
        f"{shape['model']}: {shape['parameters']:,} parameters, latents {shape['latents']}, "
        f"{shape['text_tokens']} text tokens, {shape['precision']}",
        f"preset {report['preset']}, seed {report['seed']}, {report['threads']} threads, {report['repeats']} repeats; "
        f"{versions}, python {machine['python']}",
        f"a round: {round_['rollouts']} rollouts x {round_['inner_epochs']} inner epochs in "
        f"{round_['gradient_steps']} gradient steps; "
        f"microbatch {round_['microbatch']}, the peers' batch {round_['peer_batch']} rollouts",
        *(
            f"{row['name']}: {row['images_per_second']['median']:.1f} a second, {row['speedup']['median']:.2f} x "
            f"({row['speedup']['lowest']:.2f} .. {row['speedup']['highest']:.2f}), by CPU seconds "
            f"{row['speedup_by_cpu']['median']:.2f} x; {shape['sampler']}"
            for row in report["rollouts"]
        ),
        f"peak memory: {memory['process_resident'] / 1e6:,.0f} MB resident, the whole process"
        + (f"; rollouts {memory['gpu_rollouts'] / 1e9:.1f} GB on the GPU" if gpu["ran"] else ""),
        f"model: {flops['training'] / 1e9:,.3f} GFLOP a training sample; peak (matrix products, measured here): "
        f"{flops['matmul_peak'] / 1e12:,.3f} TFLOP/s",
        "beside the best open peer's way (text encoded once, nothing unused, v_roll of all samples, our batch size: "
        f"{peer['median']:.0f} samples/s) training is {faster['median']:.2f} x as fast "
        f"({faster['lowest']:.2f} .. {faster['highest']:.2f}), by CPU seconds {cheaper['median']:.2f} x",
        f"losses of all rows agree within {report['largest_loss_difference']:.1e}",
        f"GPU: {gpu['name']}" if gpu["ran"] else f"the GPU part (SD3.5-Medium's shape) did not run: {gpu['why']}",
    ]


def _table(report: Mapping[str, Any]) -> Table:
    on_gpu = report["gpu"]["ran"]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("training", "samples/s, range", "saving", "in all", "of peak", *(["memory"] if on_gpu else [])):
        table.add_column(column, no_wrap=True, justify="left" if column == "training" else "right")
    for number, row in enumerate(report["rows"]):
        rate = row["samples_per_second"]
        cells = [
            f"+ {row['name']}" if number else row["name"],
            f"{rate['median']:.0f} ({rate['lowest']:.0f} .. {rate['highest']:.0f})",
            f"{row['gain']['median']:.2f} x" if number else "",
            f"{row['speedup']['median']:.2f} x",
            f"{row['share_of_matmul_peak']:.1%}",
        ]
        table.add_row(*cells, *([f"{row['peak_memory'] / 1e9:.1f} GB"] if on_gpu else []))
    return table
