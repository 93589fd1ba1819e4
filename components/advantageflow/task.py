"""What a stage's task starts: a component of its image, or of this machine, run by Kubeflow's executor.

    python3 -m advantageflow.task kfp.dsl.executor_main advantageflow.rollout.component==0.1.0 --function_to_execute ...

Kubeflow's own way is to send the component's source with each task, and each variable of the environment as an entry of
its own; Argo keeps a dozen copies of both for each task, and has no room for them in a long run.

A task on a cluster begins anew, in its container, where what it talks to is away for a moment: Kubeflow itself tries a
task again only where its controller is told to (infra/README.md, "Retries"). What a store, a server or a hub does not
answer is asked again by whoever asks; a task begins anew where that was not enough.
"""

import json
import os
import sys
import time
import traceback
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from advantageflow import __version__
from advantageflow.errors import ClusterError, SettingsError, UserError
from advantageflow.inputs import with_inputs
from advantageflow.processes import wait_asleep
from advantageflow.tracking.pipeline_run import PIPELINE_RUN_ENV

ENVIRONMENT_FOLDER = "/etc/advantageflow"  # of mounted secrets and config maps: FOLDER/NAME/VARIABLE
_USER_ERROR = 2
WAITS_ENV = "ADVANTAGEFLOW_TASK_WAITS"  # seconds before each further try, with commas between them
_WAITS = "20,60,180"
_TRIES_ENV = "ADVANTAGEFLOW_TASK_TRIES"
_AWAY = {
    ("builtins", "ConnectionError"),
    ("requests.exceptions", "ConnectionError"),
    ("requests.exceptions", "Timeout"),
    ("urllib3.exceptions", "HTTPError"),
    ("httpx", "TransportError"),
    ("botocore.exceptions", "HTTPClientError"),
    ("botocore.exceptions", "ConnectionError"),
}


def main(arguments: Sequence[str]) -> None:
    """Run a component, with the environment that is mounted.
    Raises SettingsError: this image is of another version than the pipeline, or has no such module.

    Args:
        arguments: the executor, whose name the local runner looks for; the component's module and the version that the
            pipeline was compiled with; the executor's own.
    """
    parser = ArgumentParser()
    parser.add_argument("executor")
    parser.add_argument("module")
    parser.add_argument("--function_to_execute", required=True)
    parser.add_argument("--executor_input", required=True, type=json.loads)
    given = parser.parse_args(arguments)
    read_environment(Path(ENVIRONMENT_FOLDER))
    wait_asleep()
    module, _, version = given.module.partition("==")
    remedy = "compile the pipeline again, with the version and the images that belong together (--images)"
    if version != __version__:
        compiled = f"version {version}" if version else "an older version"
        message = f"the pipeline was compiled with {compiled} of AdvantageFlow, and this image has {__version__}"
        raise SettingsError(message, where=module, remedy=remedy)
    if find_spec(module) is None:
        raise SettingsError("there is no such component in this image", where=module, remedy=remedy)
    from kfp.dsl.executor import Executor  # its executor_main would put the module's folder before the standard library

    component = getattr(import_module(module), given.function_to_execute)
    function = getattr(component, "python_func", component)
    function = with_inputs(function, given.executor_input["inputs"].get("parameterValues", {}))
    Executor(executor_input=given.executor_input, function_to_execute=function).execute()


def read_environment(folder: Path) -> None:
    """Set the variables that lie in `folder` as files, a folder for each secret or config map; what is set stays.

    Kubernetes keeps the files themselves in hidden folders, which are passed over.
    """
    for file in sorted(folder.glob("[!.]*/[!.]*")):
        os.environ.setdefault(file.name, file.read_text(encoding="utf-8"))


def begin_again_where_away(error: BaseException) -> None:
    """Replace this process by one like it, if that is worth it: after a lost connection, a few times, on a cluster.

    Args:
        error: what ended the task. An error of the cluster's own API is left alone: its callers have patience.
    """
    tries = int(os.environ.get(_TRIES_ENV, "0"))
    waits = [float(text) for text in os.environ.get(WAITS_ENV, _WAITS).split(",") if text.strip()]
    if not os.environ.get(PIPELINE_RUN_ENV) or tries >= len(waits) or not is_away(error):
        return
    which = f"try {tries + 2} of {len(waits) + 1}"
    print(f"warning: a connection was lost; {which} in {waits[tries]:g} s", file=sys.stderr, flush=True)
    time.sleep(waits[tries])
    os.environ[_TRIES_ENV] = str(tries + 1)
    sys.stdout.flush()
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - this command itself, without a shell


def is_away(error: BaseException) -> bool:
    """Whether an error comes of a connection that could not be made, or was lost."""
    chain = list(_chain(error))
    kinds = {(kind.__module__, kind.__name__) for one in chain for kind in type(one).__mro__}
    return bool(_AWAY & kinds) and not any(isinstance(one, ClusterError) for one in chain)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that it came of."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (Exception, SystemExit) as error:
        if not isinstance(error, SystemExit):
            print(error if isinstance(error, UserError) else traceback.format_exc(), file=sys.stderr, flush=True)
        begin_again_where_away(error)
        if isinstance(error, SystemExit):
            raise
        sys.exit(_USER_ERROR if isinstance(error, UserError) else 1)
