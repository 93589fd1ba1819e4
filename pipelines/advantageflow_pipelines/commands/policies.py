"""`advantageflow generate`, `publish`, `export`, `rollback`, `gc`: what is done with trained policies."""

from pathlib import Path
from typing import Annotated

from rich.table import Column, Table
from typer import Argument, Option

from advantageflow.errors import SettingsError, StoreError
from advantageflow.prompts.sources import EMBEDDED
from advantageflow.settings import EvaluationSettings, ModelSettings
from advantageflow.store.files import writing
from advantageflow.store.published import publish_folder
from advantageflow.suggestions import suggest
from advantageflow.tracking.champion import champion, change_champion, predecessor
from advantageflow.tracking.mlflow_store import open_client
from advantageflow.tracking.registration import POLICY_TAG
from advantageflow_pipelines.commands import options
from advantageflow_pipelines.local import garbage
from advantageflow_pipelines.local.policies import draw, find_policy
from advantageflow_pipelines.local.tracking import existing_store
from advantageflow_pipelines.say import Console, print_table, say, warn

BASE = "base"


def generate(
    prompt: Annotated[str, Argument(help='What the picture shows, such as "a red circle left of a blue star".')],
    output: Annotated[Path, Option("--output", "-o", help="PNG file to write.")] = Path("out.png"),
    model: Annotated[
        str,
        Option(
            "--model",
            "-m",
            help="base, a run's working folder, a policy, an adapter (PEFT, diffusers, kohya), or where one is "
            "published (s3://...) or registered (models:/NAME@alias).",
        ),
    ] = BASE,
    base_model: Annotated[
        str | None,
        Option(help="With --model base or an adapter: shapes (if not given), a diffusers folder or a hub id."),
    ] = None,
    seed: Annotated[int, Option(min=0, help="Seed of the initial noise.")] = 0,
    steps: Annotated[int | None, Option(min=1, help="Model evaluations; as in the run if not given.")] = None,
    guidance_scale: Annotated[float | None, Option(min=1.0, help="1 is none; as in the run if not given.")] = None,
) -> None:
    """Generate one picture with the base model or with a tuned one."""
    with writing(output):
        if output.is_dir():
            raise StoreError("is a folder", where=f"--output {output}", remedy="give the name of a PNG file")
    found = None if model == BASE else find_policy(model)
    known = found.model if found else None
    if known is not None and base_model is not None:
        remedy = "leave --base-model away: a tuned model is drawn with the base model that it was trained on"
        raise SettingsError("is only for --model base", where=f"--base-model {base_model}", remedy=remedy)
    base = known or ModelSettings(name=base_model or EMBEDDED)
    changes = {"steps": steps, "guidance_scale": guidance_scale}
    sampling = found.settings.evaluation if found else EvaluationSettings()
    sampling = sampling.model_copy(update={k: v for k, v in changes.items() if v is not None})
    (picture,) = draw(base, found.path if found else None, [prompt], seed, sampling)
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        picture.save(output, format="PNG")
    name = found.name if found else f"base model {base.name}"
    how = f"seed {seed}, {sampling.steps} steps, guidance {sampling.guidance_scale:g}"
    say(Console(), f"{output}: '{prompt}' by {name}, {how}")


def publish(
    policy: Annotated[
        str, Argument(metavar="WORKDIR_OR_POLICY", help="A run's working folder (its last policy), or a policy.")
    ],
    url: Annotated[str, Argument(metavar="URL", help="s3://bucket/prefix, or a folder that the readers share.")],
) -> None:
    """Publish a trained policy: readers see the whole of it, or nothing.

    Every file is checked before it is sent and compared afterwards. What was published there before is replaced.
    """
    from advantageflow.policy.saved import check_all_files

    found = find_policy(policy)
    found.trained_state()
    check_all_files(found.path)
    publish_folder(found.path, url)
    say(Console(), f"{url}: {found.name}", f"continue from it: advantageflow run --init-policy {url}")


def export(
    policy: Annotated[
        str,
        Argument(
            metavar="RUN_OR_POLICY",
            help="A run's working folder (its last policy), a policy, or where one is published or registered.",
        ),
    ],
    output: Annotated[Path, Option("--output", "-o", help="New folder to write.")],
    fused: Annotated[
        bool, Option("--fused", help="Write the whole model, with the adapter in its weights, not the adapter.")
    ] = False,
    runs: options.Runs = options.RUNS,
) -> None:
    """Write a trained policy for others: weights, model card with results and samples, licence of the base, provenance.

    Without --fused the folder is an adapter: `pipe.load_lora_weights(FOLDER)` in diffusers,
    `PeftModel.from_pretrained(pipe.transformer, FOLDER)` in PEFT. With it,
    `DiffusionPipeline.from_pretrained(FOLDER)`. `hf upload NAME FOLDER` puts it on the hub.
    """
    from advantageflow_pipelines.local.export import export_policy

    found = find_policy(policy, runs)
    state, licence = export_policy(found, output, fused=fused)
    kind = "the whole model" if fused else "an adapter for diffusers and PEFT"
    console = Console()
    say(console, f"{output}: {kind}, {found.name}, policy {state.policy_sha256}")
    if not licence:
        warn(console, "the base model does not say its licence: add it to README.md before you publish the folder")


def rollback(
    name: Annotated[str, Argument(metavar="NAME", help="Registered model, such as shapes.")],
    to: Annotated[int | None, Option(min=1, help="Version that becomes champion; the one before if not given.")] = None,
    runs: options.Runs = options.RUNS,
) -> None:
    """Make the champion before this one champion again, or any version."""
    uri = existing_store(runs)
    client = open_client(uri)
    registered: dict[str, list[str]] = {}
    for one in garbage.registered_versions(client):
        registered.setdefault(one.name, []).append(str(one.version))
    if name not in registered:
        remedy = suggest(name, registered, what="registered models")
        raise SettingsError(f"there is no registered model '{name}'", where=uri, remedy=remedy)
    now = champion(client, name).version
    version = str(to) if to is not None else predecessor(client, name)
    if version is None or version == now:
        what = f"version {now} is champion already" if version else "nobody was champion before"
        raise SettingsError(what, where=f"{uri}, models:/{name}", remedy="name another version with --to")
    if version not in registered[name]:
        remedy = f"choose one of {', '.join(registered[name])}"
        raise SettingsError(f"there is no version {version}", where=f"{uri}, models:/{name}", remedy=remedy)
    change_champion(client, name, now, version, "rolled back")
    instead = f" instead of version {now}" if now else ""
    say(Console(), f"models:/{name}@champion is version {version}{instead}")


def gc(
    runs: options.Runs = options.RUNS,
    store: Annotated[
        str | None, Option(help="Also in this store: a folder or s3://bucket/prefix, as store.url.")
    ] = None,
    days: Annotated[float, Option(min=0, help="What is no older is kept.")] = 30,
    newest: Annotated[int, Option(min=0, help="So many runs are kept, however old.")] = 3,
    rejected: Annotated[
        bool, Option("--rejected", help="Also registered versions that a gate kept from promotion.")
    ] = False,
    delete: Annotated[bool, Option("--delete", help="Remove it; without this, only say what would go.")] = False,
) -> None:
    """Say what nobody needs any more, and with --delete remove it.

    Of old runs the reports stay, and the last policy unless it is registered; of a store the registered policies stay.
    No champion, present or former, is touched.
    """
    console, client = Console(), open_client(existing_store(runs))
    versions = garbage.registered_versions(client)
    registered = {version.tags[POLICY_TAG] for version in versions if POLICY_TAG in version.tags}
    found = [*garbage.old_runs(runs, newest, days, registered), *garbage.old_copies(days)]
    found += garbage.old_in_store(store, days, registered) if store else ()
    found += garbage.rejected_versions(client, versions, days) if rejected else ()
    if not found:
        say(console, "nothing to remove")
        return
    table = Table("what", Column("MB", justify="right"), "why")
    for one in found:
        table.add_row(one.what, f"{one.size / 1e6:.1f}" if one.size else "", one.why)
        if delete:
            one.remove()
    print_table(console, table)
    total = f"{sum(one.size for one in found) / 1e6:,.1f} MB"
    say(console, f"removed {total}" if delete else f"{total} would go; remove it with --delete")
