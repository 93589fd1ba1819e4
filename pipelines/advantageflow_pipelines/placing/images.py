"""Which container image each stage runs in, by stage: the defaults, one for all, or a file of the image build.

An image is named by digest (`name@sha256:...`) or by a tag that is never moved: Kubeflow's cache knows an image by this
text alone, so a tag that is moved to other code gives the old results.
"""

import json
import re
from pathlib import Path

from advantageflow.errors import SettingsError, StoreError
from advantageflow.image import default_image
from advantageflow.store.files import read_json
from advantageflow.suggestions import suggest
from advantageflow_pipelines.pipelines import built_in_pipelines
from advantageflow_pipelines.pipelines.definition import Pipeline

_MOVING_TAG = "latest"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::[0-9]+)?/)?"
_REFERENCE = re.compile(
    rf"(?P<name>{_HOST}{_PART}(?:/{_PART})*)(?::(?P<tag>\w[\w.-]{{0,127}}))?(?:@(?P<digest>sha256:[0-9a-f]{{64}}))?",
    re.ASCII,
)


def default_images(pipeline: Pipeline) -> dict[str, str]:
    """The images of a pipeline's stages as `docker/` builds them for this version."""
    return {stage.name: default_image(stage.image_name) for stage in pipeline.stages}


def read_images(path: Path, pipeline: Pipeline) -> dict[str, str]:
    """The images of a pipeline's stages, from a JSON file of name to reference, as `docker/build.sh` writes it.
    Raises SettingsError: the file is missing or not a JSON object, lacks an image or has one that no stage runs in, or
    an image in it is not pinned.
    """
    try:
        images = read_json(path)
    except StoreError as error:
        remedy = "give the file that docker/build.sh --images FILE wrote"
        raise SettingsError(error.message, where=str(path), remedy=remedy) from error
    needed = dict.fromkeys(stage.image_name for stage in pipeline.stages)
    known = {stage.image_name for one in (pipeline, *built_in_pipelines()) for stage in one.stages}
    for name in images:
        if name not in known:
            remedy = f"remove it; {suggest(name, known, what='images')}"
            raise SettingsError(f"there is no stage '{name}'", where=str(path), remedy=remedy)
    missing = [name for name in needed if name not in images]
    if missing:
        remedy = f"name all of {', '.join(needed)}, as docker/build.sh does"
        raise SettingsError(f"has no image for {', '.join(missing)}", where=str(path), remedy=remedy)
    checked = {name: check_reference(images[name], where=f"{path}: {name}") for name in needed}
    return {stage.name: checked[stage.image_name] for stage in pipeline.stages}


def check_reference(image: object, *, where: str) -> str:
    """An image reference that always names the same image: by digest, or by a tag other than `latest`.
    Raises SettingsError: it is not an image reference, or not pinned.

    Args:
        where: the option or field that it was given in.
    """
    parsed = _REFERENCE.fullmatch(image) if isinstance(image, str) else None
    if parsed is None:
        remedy = "give it as name:tag or name@sha256:digest"
        raise SettingsError(f"{json.dumps(image)} is not the name of a container image", where=where, remedy=remedy)
    if not parsed["digest"] and parsed["tag"] in (None, _MOVING_TAG):
        what = "has no tag" if parsed["tag"] is None else f"has the tag '{_MOVING_TAG}', which moves"
        remedy = "give a tag that is never moved, or the digest (name@sha256:...) that docker/build.sh --push writes"
        message = f"the image {image} {what}: Kubeflow's cache would take old results for new"
        raise SettingsError(message, where=where, remedy=remedy)
    return parsed.string
