"""TrainJobs and their pods, and what a test has become of them."""

from __future__ import annotations

import datetime
import threading
import time
from typing import Any


def now() -> str:
    """The time, as Kubernetes writes it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Pod:
    """A pod of a job: its status, and its log, which readers follow."""

    def __init__(self, job: str, namespace: str, index: int) -> None:
        self.name = f"{job}-node-0-{index}-x1y2z"
        self.log: list[tuple[str, str]] = []
        self.changed = threading.Condition()
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

    @property
    def over(self) -> bool:
        return self.body["status"]["phase"] in ("Succeeded", "Failed")

    def more(self, sent: int) -> tuple[list[tuple[str, str]], bool]:
        """Lines beyond those that were sent, and whether those are all; waits for one of the two."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.log) > sent or self.over, timeout=10)
            return self.log[sent:], self.over

    def waits(self, reason: str, message: str, since: str | None = None) -> None:
        """Cannot start."""
        self.body["metadata"]["creationTimestamp"] = since or now()
        waiting = {"waiting": {"reason": reason, "message": message}}
        self._set({"phase": "Pending", "containerStatuses": [container_status(waiting)]})

    def says(self, *lines: str) -> None:
        """Runs, and writes to its log."""
        with self.changed:
            self.body["status"] = {"phase": "Running"}
            self.log += [(now(), line) for line in lines]
            self.changed.notify_all()
        time.sleep(0.002)  # times of lines tell them apart

    def ends(self, status: int, reason: str | None = None, **more: Any) -> None:
        """Its container ends."""
        reason = reason or ("Error" if status else "Completed")
        terminated = {"terminated": {"exitCode": status, "reason": reason, "finishedAt": now()}}
        self._set({"phase": "Failed" if status else "Succeeded",
                   "containerStatuses": [container_status(terminated)], **more})  # fmt: skip

    def _set(self, status: dict[str, Any]) -> None:
        with self.changed:
            self.body["status"] = status
            self.changed.notify_all()


def container_status(state: dict[str, Any]) -> dict[str, Any]:
    return {"name": "node", "ready": False, "restartCount": 0, "image": "i", "imageID": "i", "state": state}


class Job:
    """A TrainJob and its pods."""

    def __init__(self, body: dict[str, Any], namespace: str) -> None:
        self.name: str = body["metadata"]["name"]
        self.body = body
        self.pods = [Pod(self.name, namespace, index) for index in range(body["spec"]["trainer"]["numNodes"])]

    @property
    def arguments(self) -> str:
        """The address that the workers are told."""
        address: str = self.body["spec"]["trainer"]["args"][-1]
        return address

    def becomes(self, kind: str, reason: str, message: str) -> None:
        """Complete, Failed or Suspended."""
        condition = {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now()}
        self.body["status"] = {"conditions": [condition]}
