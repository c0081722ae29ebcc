"""What tells Kubernetes of a node's GPUs and EFA interfaces: the device plugins of NVIDIA and of AWS.

    DevicePlugins(
        "platform",
        DevicePluginsArgs(
            nvidia_image=images["nvidia-device-plugin"],
            efa_image=images["efa-device-plugin"],
        ),
        pulumi.ResourceOptions(provider=kubernetes_provider),
    )

Without the second a pod that asks for EFA waits for ever, and one that does not ask trains over TCP. Both plugins speak
to the kubelet through a socket in a folder of the node, which no Pod Security level but `privileged` allows: they have
a namespace to themselves, with nothing else in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from trainyard.modules.instance_types import INSTANCE_TYPES
from trainyard.modules.node_labels import GPU_TAINT, RETIRING_TAINT

INSTANCE_TYPE_LABEL = "node.kubernetes.io/instance-type"
"""Put on every node by the kubelet."""

GPU_TYPES = sorted(kind.name for kind in INSTANCE_TYPES.values() if kind.gpus)
EFA_TYPES = sorted(kind.name for kind in INSTANCE_TYPES.values() if kind.efa_interfaces)

_KUBELET_SOCKETS = "/var/lib/kubelet/device-plugins"
_EFA_DEVICES = "/dev/infiniband"

_WHY_PRIVILEGED = (
    "Device plugins speak to the kubelet by its sockets; that for EFA finds its devices on the node's own network."
)
"""For whoever reviews the namespace: the policies ask for a reason."""

# The nodes' own taint, that of a group which takes nothing new, and Kubernetes' own for what must run everywhere.
_TOLERATED = (GPU_TAINT[0], RETIRING_TAINT[0], "CriticalAddonsOnly")


@dataclass(frozen=True)
class DevicePluginsArgs:
    """The plugins' images and where they run.

    Attributes:
        nvidia_image: reference of NVIDIA's plugin, best a copy in the account's own registry.
        efa_image: reference of AWS's EFA plugin.
        namespace: made here, for the plugins alone.
        pod_security_version: of the level's rules.
        labels: of everything here.
    """

    nvidia_image: pulumi.Input[str]
    efa_image: pulumi.Input[str]
    namespace: str = "device-plugins"
    pod_security_version: str = "v1.35"
    labels: Mapping[str, str] = field(default_factory=dict)


class DevicePlugins(pulumi.ComponentResource):
    """A namespace and two DaemonSets."""

    namespace: pulumi.Output[str]

    def __init__(self, name: str, args: DevicePluginsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trainyard:device_plugins:DevicePlugins", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        namespace = kubernetes.core.v1.Namespace(
            name,
            metadata={
                "name": args.namespace,
                "labels": {
                    **args.labels,
                    "pod-security.kubernetes.io/enforce": "privileged",
                    "pod-security.kubernetes.io/enforce-version": args.pod_security_version,
                },
                "annotations": {
                    "trainyard.dev/privileged-reason": _WHY_PRIVILEGED,
                    "trainyard.dev/privileges": "hostNetwork, hostPath, root",  # the policy pack lets no more pass
                },
            },
            opts=child,
        )
        self.namespace = namespace.metadata.name
        # They talk to nobody: the kubelet's socket is a file.
        kubernetes.networking.v1.NetworkPolicy(
            name,
            metadata={"name": "default-deny", "namespace": self.namespace, "labels": dict(args.labels)},
            spec={"pod_selector": {}, "policy_types": ["Ingress", "Egress"]},
            opts=child,
        )
        # Without a limit of their own, DaemonSets of the priority `system-node-critical` need a quota that admits it
        # only where the cluster asks for one; EKS does not.
        self._plugin(
            name,
            "nvidia",
            args,
            image=args.nvidia_image,
            instance_types=GPU_TYPES,
            # A node whose driver fails must show it, instead of offering no GPU in silence.
            environment={"FAIL_ON_INIT_ERROR": "true"},
            folders={"kubelet-sockets": _KUBELET_SOCKETS},
        )
        self._plugin(
            name,
            "efa",
            args,
            image=args.efa_image,
            instance_types=EFA_TYPES,
            environment={},
            folders={"kubelet-sockets": _KUBELET_SOCKETS, "efa-devices": _EFA_DEVICES},
            # As in the chart of its publisher.
            host_network=True,
        )
        self.register_outputs({"namespace": self.namespace})

    def _plugin(
        self,
        name: str,
        what: str,
        args: DevicePluginsArgs,
        *,
        image: pulumi.Input[str],
        instance_types: list[str],
        environment: Mapping[str, str],
        folders: Mapping[str, str],
        host_network: bool = False,
    ) -> None:
        selector = {"app.kubernetes.io/name": f"{what}-device-plugin"}
        container: Any = {
            "name": "device-plugin",
            "image": image,
            "env": [{"name": key, "value": value} for key, value in environment.items()],
            "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "256Mi"}},
            # Root, for the kubelet's folder belongs to root; but with none of root's powers.
            "security_context": {
                "allow_privilege_escalation": False,
                "read_only_root_filesystem": True,
                "run_as_non_root": False,
                "capabilities": {"drop": ["ALL"]},
                "seccomp_profile": {"type": "RuntimeDefault"},
            },
            "volume_mounts": [{"name": volume, "mount_path": path} for volume, path in folders.items()],
        }
        affinity: Any = {
            "node_affinity": {
                "required_during_scheduling_ignored_during_execution": {
                    "node_selector_terms": [
                        {
                            "match_expressions": [
                                {"key": INSTANCE_TYPE_LABEL, "operator": "In", "values": instance_types}
                            ]
                        }
                    ]
                }
            }
        }
        tolerations: Any = [{"key": key, "operator": "Exists"} for key in _TOLERATED]
        kubernetes.apps.v1.DaemonSet(
            f"{name}-{what}",
            metadata={
                "name": f"{what}-device-plugin",
                "namespace": self.namespace,
                "labels": {**args.labels, **selector},
            },
            spec={
                "selector": {"match_labels": selector},
                "update_strategy": {"type": "RollingUpdate", "rolling_update": {"max_unavailable": 1}},
                "template": {
                    "metadata": {"labels": {**args.labels, **selector}},
                    "spec": {
                        "automount_service_account_token": False,
                        "enable_service_links": False,
                        "host_network": host_network,
                        "priority_class_name": "system-node-critical",
                        "affinity": affinity,
                        "tolerations": tolerations,
                        "containers": [container],
                        "volumes": [{"name": volume, "host_path": {"path": path}} for volume, path in folders.items()],
                    },
                },
            },
            opts=pulumi.ResourceOptions(parent=self),
        )
