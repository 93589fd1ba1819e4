"""`advantageflow publish`: a run's policy where others can read it, at an s3:// address or in a shared folder."""

from __future__ import annotations

from typing import Annotated

import typer

from advantageflow_pipelines.say import Console, say


def publish(
    policy: Annotated[
        str, typer.Argument(metavar="WORKDIR_OR_POLICY", help="A run's working folder (its last policy), or a policy.")
    ],
    url: Annotated[str, typer.Argument(metavar="URL", help="s3://bucket/prefix, or a folder that the readers share.")],
) -> None:
    """Publish a trained policy: readers see the whole of it, or nothing.

    Every file is checked before it is sent and compared afterwards. What was published there before is replaced.
    """
    from advantageflow.policy.saved import check_all_files
    from advantageflow.store.published import publish_folder
    from advantageflow_pipelines.local.policies import find_policy

    found = find_policy(policy)
    found.trained_state()
    check_all_files(found.path)
    publish_folder(found.path, url)
    say(Console(), f"{url}: {found.name}", f"continue from it: advantageflow run --init-policy {url}")
