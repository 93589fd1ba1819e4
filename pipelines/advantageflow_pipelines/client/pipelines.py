"""Pipelines that a server keeps: a schedule runs one of their versions."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from advantageflow_pipelines.client.api import Api, find_or_create
from advantageflow_pipelines.client.package import Package
from advantageflow_pipelines.client.refusals import AlreadyThere


@dataclass(frozen=True)
class Version:
    """A version of a pipeline on the server."""

    pipeline_id: str
    version_id: str
    pipeline: str
    name: str


def upload(api: Api, package: Package, *, pipeline: str | None = None, version: str | None = None) -> Version:
    """Upload a compiled pipeline as a version of a pipeline on the server, which is made if it is not there.

    Args:
        api: of the server.
        package: the compiled pipeline.
        pipeline: name on the server; the package's own if None.
        version: name of the new version; if None, one that says its content, which is uploaded once.

    Raises:
        ClusterError: the version's name is taken, or the server cannot be reached or does not take it.
    """
    pipeline = pipeline or package.name
    pipeline_id = _pipeline_id(api, pipeline)
    name = version or f"{pipeline}-{package.digest()}"
    there = _find_version(api, pipeline_id, name)
    if there is not None and version is None:
        return Version(pipeline_id, there, pipeline, name)
    if there is not None:
        remedy = "choose another with --version-name, or leave it away: the name is then made from the content"
        message = f"pipeline '{pipeline}' has a version '{name}' already"
        raise AlreadyThere(message, where=api.connection.host, remedy=remedy)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{package.name}.yaml"
        file.write_text(package.as_yaml(), encoding="utf-8")
        sent = api.ask(
            api.uploads.upload_pipeline_version, f"version '{name}' of pipeline '{pipeline}'", changes=True,
            uploadfile=str(file), name=name, pipelineid=pipeline_id,
        )  # fmt: skip
    return Version(pipeline_id, str(sent.pipeline_version_id), pipeline, name)


def _pipeline_id(api: Api, name: str) -> str:
    """The id of a pipeline, which is made, empty, if it is not there."""
    from kfp_server_api import V2beta1Pipeline

    service, what = api.pipelines, f"pipeline '{name}'"

    def find() -> str | None:
        listed = api.named(service.pipeline_service_list_pipelines, "pipelines", what, name, namespace=api.namespace)
        return next((str(one.pipeline_id) for one in listed), None)

    def create() -> str:
        new = V2beta1Pipeline(display_name=name, name=name, namespace=api.namespace)
        return str(api.ask(service.pipeline_service_create_pipeline, what, changes=True, pipeline=new).pipeline_id)

    return find_or_create(find, create)


def _find_version(api: Api, pipeline_id: str, name: str) -> str | None:
    listing = api.pipelines.pipeline_service_list_pipeline_versions
    listed = api.named(listing, "pipeline_versions", f"version '{name}'", name, pipeline_id=pipeline_id)
    return next((str(one.pipeline_version_id) for one in listed), None)
