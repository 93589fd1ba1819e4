"""TrainJobs and their pods, and what a test has become of them."""

from __future__ import annotations

import datetime
import time
from typing import Any


def now() -> str:
    """The time, as Kubernetes writes it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Pod:
    """A pod of a job: its status, and its log."""

    def __init__(self, job: str, namespace: str, index: int, start: int) -> None:
        self.name = f"{job}-node-0-{index}-x1y2{start}"
        self.log: list[tuple[str, str]] = []
        self.body: dict[str, Any] = {
            "metadata": {
                "name": self.name, "namespace": namespace, "creationTimestamp": now(),
                "labels": {
                    "jobset.sigs.k8s.io/jobset-name": job,
                    "batch.kubernetes.io/job-completion-index": str(index),
                },
            },
            "spec": {"containers": [{"name": "node"}]},
            "status": {"phase": "Pending"},
        }  # fmt: skip

    def said(self, seconds: int) -> list[tuple[str, str]]:
        """The lines of the last so many seconds."""
        since = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds)
        return [(at, line) for at, line in self.log if datetime.datetime.fromisoformat(at) >= since]

    def waits(self, reason: str, message: str, since: str | None = None) -> None:
        """Cannot start."""
        self.body["metadata"]["creationTimestamp"] = since or now()
        waiting = {"waiting": {"reason": reason, "message": message}}
        self._set({"phase": "Pending", "containerStatuses": [container_status(waiting)]})

    def says(self, *lines: str) -> None:
        """Runs, and writes to its log."""
        self.body["status"] = {"phase": "Running"}
        self.log += [(now(), line) for line in lines]
        time.sleep(0.002)  # times of lines tell them apart

    def ends(self, status: int, reason: str | None = None, **more: Any) -> None:
        """Its container ends."""
        reason = reason or ("Error" if status else "Completed")
        terminated = {"terminated": {"exitCode": status, "reason": reason, "finishedAt": now()}}
        self._set({"phase": "Failed" if status else "Succeeded",
                   "containerStatuses": [container_status(terminated)], **more})  # fmt: skip

    def _set(self, status: dict[str, Any]) -> None:
        self.body["status"] = status


def warning(kind: str, name: str, message: str, minute: int, reason: str = "FailedCreate") -> dict[str, Any]:
    """An event about an object, so many minutes from now."""
    at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=minute)
    return {
        "reason": reason, "type": "Warning", "message": message, "involvedObject": {"kind": kind, "name": name},
        "metadata": {"creationTimestamp": at.isoformat()},
    }  # fmt: skip


def container_status(state: dict[str, Any]) -> dict[str, Any]:
    return {"name": "node", "ready": False, "restartCount": 0, "image": "i", "imageID": "i", "state": state}


class Job:
    """A TrainJob and its pods."""

    def __init__(self, body: dict[str, Any], namespace: str) -> None:
        self.name: str = body["metadata"]["name"]
        self.body = body
        body["metadata"].setdefault("creationTimestamp", now())
        self.pods: list[Pod] = []
        self._namespace = namespace
        self._starts = 0
        self.start()

    @property
    def arguments(self) -> str:
        """The address that the workers are told."""
        address: str = self.body["spec"]["trainer"]["args"][-1]
        return address

    def start(self) -> None:
        """Its pods are made."""
        self._starts += 1
        nodes = range(self.body["spec"]["trainer"]["numNodes"])
        self.pods = [Pod(self.name, self._namespace, index, self._starts) for index in nodes]

    def suspend(self) -> None:
        """A queue holds it back, or takes it off its nodes: its pods are removed."""
        self.becomes("Suspended", "Suspended", "TrainJob is suspended")
        ended, self.pods = self.pods, []
        for pod in ended:
            pod.ends(143)

    def resume(self) -> None:
        """The queue admits it: it has new pods."""
        self.start()
        self.becomes("Suspended", "Resumed", "TrainJob is resumed", "False")

    def becomes(self, kind: str, reason: str, message: str, status: str = "True") -> None:
        """Complete, Failed or Suspended."""
        condition = {
            "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now(),
        }  # fmt: skip
        others = [one for one in self.body.get("status", {}).get("conditions", []) if one["type"] != kind]
        self.body["status"] = {"conditions": [*others, condition]}
