"""Pipeline runs that continue each other: one package for all of them, and which ones a server has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from advantageflow.tracking.continuing import component_of, whole_name
from advantageflow_pipelines.client.api import Api
from advantageflow_pipelines.client.package import Package
from advantageflow_pipelines.client.runs import RunStatus, get_run, list_runs

Json = dict[str, Any]


def join(packages: Mapping[str, Package]) -> Package:
    """One package of the pipelines of a run's segments.

    It runs as the first one; the others are components that no task uses, which the server keeps and does not compile,
    until the segment before starts the pipeline with one of them as its root.

    Args:
        packages: compiled pipeline by its rounds, such as '6-10', in order.
    """
    (_, whole), *others = packages.items()
    for rounds, package in others:
        part = _renamed(package, f"-{rounds}")
        components = {**part.pipeline["components"], component_of(rounds): part.pipeline["root"]}
        joined = {**whole.pipeline, "components": {**whole.pipeline["components"], **components}}
        executors = {**whole.pipeline["deploymentSpec"]["executors"], **part.pipeline["deploymentSpec"]["executors"]}
        whole = Package(joined, whole.platform).with_executors(executors, {**whole.kubernetes, **part.kubernetes})
    return whole


def segments_of(api: Api, run_id: str) -> list[RunStatus]:
    """The pipeline runs that belong to one run, in the order that they began; a run that has no segments is its own.

    Raises:
        ClusterError: there is no run of this id, or the server cannot be reached.
    """
    run = get_run(api, run_id)
    found = []
    for listed in list_runs(api, run.experiment_id):  # the newest first
        if whole_name(listed.name) != whole_name(run.name):
            continue
        one = get_run(api, listed.run_id)  # a list need not tell parameters
        if one.first_run == run.first_run:
            found.append(one)
        if one.run_id == run.first_run:
            break
    return found[::-1] or [run]  # it was archived, and is in no list


def follow_segments(api: Api, run_id: str) -> Iterator[str]:
    """Ids of a run and of those that continue it; each is looked for when it is asked for, after the one before."""
    yield run_id
    while True:
        ids = [one.run_id for one in segments_of(api, run_id)]
        later = ids[ids.index(run_id) + 1 :] if run_id in ids else []
        if not later:
            return
        run_id = later[0]
        yield run_id


def _renamed(package: Package, suffix: str) -> Package:
    """The package with a suffix to the names of its components and executors."""

    def ended(parts: Json) -> Json:
        return {name + suffix: part for name, part in parts.items()}

    part = package.with_tasks(
        lambda tasks: {
            name: {**task, "componentRef": {"name": task["componentRef"]["name"] + suffix}}
            for name, task in tasks.items()
        }
    )
    components = {
        name: {**one, "executorLabel": one["executorLabel"] + suffix} if "executorLabel" in one else one
        for name, one in part.pipeline["components"].items()
    }
    renamed = Package({**part.pipeline, "components": ended(components)}, part.platform)
    return renamed.with_executors(ended(part.pipeline["deploymentSpec"]["executors"]), ended(part.kubernetes))
