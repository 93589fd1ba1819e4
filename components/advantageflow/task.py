"""What a stage's task starts: a component of its image, or of this machine, run by Kubeflow's executor.

    python3 -m advantageflow.task kfp.dsl.executor_main advantageflow.rollout.component==0.1.0 --function_to_execute ...

Kubeflow's own way is to send the component's source with each task, and each variable of the environment as an entry of
its own; Argo keeps a dozen copies of both for each task, and has no room for them in a long run.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from argparse import ArgumentParser
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from advantageflow import __version__
from advantageflow.errors import SettingsError, UserError
from advantageflow.inputs import with_inputs
from advantageflow.threads import wait_asleep

ENVIRONMENT_FOLDER = "/etc/advantageflow"  # of mounted secrets and config maps: FOLDER/NAME/VARIABLE
_USER_ERROR = 2


def main(arguments: Sequence[str]) -> None:
    """Run a component, with the environment that is mounted.

    Args:
        arguments: the executor, whose name the local runner looks for; the component's module and the version that the
            pipeline was compiled with; the executor's own.

    Raises:
        SettingsError: this image is of another version than the pipeline, or has no such module.
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


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (Exception, SystemExit) as error:
        if not isinstance(error, SystemExit):
            print(error if isinstance(error, UserError) else traceback.format_exc(), file=sys.stderr, flush=True)
        from advantageflow.again import begin_again_where_away

        begin_again_where_away(error)
        if isinstance(error, SystemExit):
            raise
        sys.exit(_USER_ERROR if isinstance(error, UserError) else 1)
