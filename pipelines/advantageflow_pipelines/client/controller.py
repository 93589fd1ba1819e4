"""What Argo's workflow controller does with the retries that a run's resources ask for, by its config map."""

from __future__ import annotations

from typing import Any, NamedTuple

import yaml

CONFIG_MAP = "workflow-controller-configmap"  # in the namespace of Kubeflow Pipelines itself
PATCH = (
    "kubectl --namespace kubeflow patch configmap workflow-controller-configmap --patch-file infra/argo/retries.yaml"
)
_DEFAULT = "OnFailure"  # Argo's, where neither a template nor the controller says otherwise
_POLICIES = {"Always": (True, True), "OnFailure": (True, False), "OnError": (False, True)}
_TIMEOUT = (3, 10)  # seconds to connect, and without a byte


class Retries(NamedTuple):
    """Which ends of a task make Argo try it again, where its resources ask for retries.

    Attributes:
        policy: Argo's word for it, which Kubeflow leaves to the controller.
        exits: a container that ended by itself: an exit status, out of memory, a signal.
        lost: a pod that was deleted, or whose node is gone.
    """

    policy: str
    exits: bool
    lost: bool

    @property
    def problem(self) -> str | None:
        """What is not tried again; None where all is."""
        missing = [what for what, held in (("containers that end by themselves", self.exits),
                                           ("pods that are lost with their node", self.lost)) if not held]  # fmt: skip
        return f"retryPolicy {self.policy}: {', '.join(missing)} are not tried again" if missing else None


def controller_retries(core: Any, namespace: str = "kubeflow") -> Retries:
    """What the controller does.

    Args:
        core: Kubernetes' core API, as `pods.core_api` gives it.
        namespace: of Kubeflow Pipelines.

    Raises:
        kubernetes.client.ApiException: the config map cannot be read, as where the role does not allow it.
        urllib3.exceptions.HTTPError: the API cannot be reached.
    """
    data = core.read_namespaced_config_map(CONFIG_MAP, namespace, _request_timeout=_TIMEOUT).data
    return retries_of(data or {})


def retries_of(data: dict[str, str]) -> Retries:
    """What a controller with this config map does; Argo takes all of it under one key `config` too."""
    whole = _read(data.get("config"))
    defaults = _read(data.get("workflowDefaults")) or whole.get("workflowDefaults") or {}
    strategy = defaults.get("spec", {}).get("templateDefaults", {}).get("retryStrategy") or {}
    policy = str(strategy.get("retryPolicy") or _DEFAULT)
    return Retries(policy, *_POLICIES.get(policy, (False, False)))


def _read(text: str | None) -> dict[str, Any]:
    try:
        read = yaml.safe_load(text or "")
    except yaml.YAMLError:
        return {}
    return read if isinstance(read, dict) else {}
