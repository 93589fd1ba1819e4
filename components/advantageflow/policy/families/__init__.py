"""Families of models: a file for each here and its line in BUILT_IN, plug-ins, and a person's own by path."""

import inspect

from advantageflow.errors import PolicyError, SettingsError, UserError
from advantageflow.plugins.registry import Registry
from advantageflow.policy.families.base import Configs, Family, LatentSizes
from advantageflow.settings import ModelSettings

__all__ = ["BUILT_IN", "FAMILIES", "Configs", "Family", "LatentSizes", "find_family"]

BUILT_IN = {
    "StableDiffusion3Pipeline": "advantageflow.policy.families.stable_diffusion_3:StableDiffusion3",
    "MeanFlowPipeline": "advantageflow.policy.families.mean_flow:MeanFlow",
    "FluxPipeline": "advantageflow.policy.families.flux:Flux",
    "QwenImagePipeline": "advantageflow.policy.families.qwen_image:QwenImage",
    "ZImagePipeline": "advantageflow.policy.families.z_image:ZImage",
}
"""The class of each family, by the diffusers pipeline that model_index.json names."""
FAMILIES = Registry("model family", "advantageflow.families", BUILT_IN, "; or package.module:Class of your own")
_SETTING = "model.family"


def find_family(pipeline: str, model: ModelSettings, where: str) -> Family:
    """The family that the settings name, or else the one of the model's diffusers pipeline.

    Args:
        pipeline: name of its class.
        model: names the family, or not; with what a family may be told.
        where: the pipeline is named, for the error.

    Raises:
        PolicyError: no family is named, and the pipeline is of none; or the named one is of another pipeline.
        SettingsError: the named family is not there, cannot be imported, or is not a family.
    """
    if model.family is None and pipeline not in FAMILIES.sources():  # what a model says is never imported as a path
        remedy = (
            f"give a model of one of these pipelines: {', '.join(BUILT_IN)}; or name a family of your own ({_SETTING})"
        )
        raise PolicyError(f"its pipeline is {pipeline}, which is not supported", where=where, remedy=remedy)
    kind = _class_of(model.family or pipeline)
    if kind.pipeline != pipeline:
        message = f"its pipeline is {pipeline}, and {_SETTING} names {kind.__name__}, which is of {kind.pipeline}"
        raise PolicyError(message, where=where, remedy=f"leave {_SETTING} away, or name one of {pipeline}")
    return kind.of(model)


def _class_of(name: str) -> type[Family]:
    try:
        source = FAMILIES.source(name, _SETTING)
        kind = source.load(_SETTING)
    except UserError:
        raise
    except Exception as error:
        message = f"'{name}' ({source.origin}) cannot be imported: {type(error).__name__}: {error}"
        raise SettingsError(message, where=_SETTING, remedy="install what it needs, or mend it") from error
    if not (inspect.isclass(kind) and issubclass(kind, Family)) or inspect.isabstract(kind):
        remedy = "make it a subclass of advantageflow.policy.families.base.Family with all abstract methods"
        raise SettingsError(f"'{name}' ({source.origin}) is not a model family", where=_SETTING, remedy=remedy)
    return kind
