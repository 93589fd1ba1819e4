"""AdvantageFlow: forward-process reinforcement learning for rectified-flow image models.

    import advantageflow as af

    run = af.run("shapes", "rounds=4")                      # a preset, a file of settings, or af.RunSettings(...)
    af.generate(["a red circle"], run.policy)[0]            # pictures, by a policy or by the base model

Names are imported when they are first asked for. A stage by itself is a function: `run` in `advantageflow.NAME.stage`.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
_WHERE = {
    "run": "advantageflow_pipelines.api",  # of the machine where runs are started; no image has it
    "generate": "advantageflow_pipelines.api",
    "load_settings": "advantageflow.configure",
    "RunSettings": "advantageflow.settings",
}
__all__ = ["RunSettings", "__version__", "generate", "load_settings", "run"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_WHERE]
