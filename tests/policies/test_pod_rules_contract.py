"""The names by which rules about pods, namespaces, RBAC and costs read resources are those of the installed SDKs.

A misspelt property would be absent in every resource, and its rule silent.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import pulumi_kubernetes
import pytest

from trainyard.policies.pod_templates import CONFIG_MAPS, NAMESPACES, has_pods
from trainyard.policies.registry import RULES

CORE = "pulumi_kubernetes.core.v1.outputs"
BATCH = "pulumi_kubernetes.batch.v1.outputs"
NETWORK = "pulumi_kubernetes.networking.v1.outputs"
RBAC = "pulumi_kubernetes.rbac.v1"

READ = [
    (
        CORE,
        "PodSpec",
        "affinity automountServiceAccountToken containers ephemeralContainers hostIPC hostNetwork hostPID "
        "initContainers nodeSelector os resources restartPolicy securityContext serviceAccount serviceAccountName "
        "terminationGracePeriodSeconds volumes",
    ),
    (CORE, "Container", "args command env image name ports resources securityContext volumeMounts"),
    (
        CORE,
        "SecurityContext",
        "allowPrivilegeEscalation appArmorProfile capabilities privileged procMount readOnlyRootFilesystem "
        "runAsNonRoot runAsUser seLinuxOptions seccompProfile windowsOptions",
    ),
    (
        CORE,
        "PodSecurityContext",
        "appArmorProfile runAsNonRoot runAsUser seLinuxOptions seccompProfile sysctls windowsOptions",
    ),
    (CORE, "Capabilities", "add drop"),
    (CORE, "WindowsSecurityContextOptions", "hostProcess"),
    (CORE, "Volume", "csi emptyDir hostPath image name nfs persistentVolumeClaim"),
    (CORE, "ImageVolumeSource", "reference"),
    (CORE, "EmptyDirVolumeSource", "medium"),
    (CORE, "VolumeMount", "mountPath name readOnly"),
    (CORE, "ContainerPort", "hostPort"),
    (CORE, "EnvVar", "name value valueFrom"),
    (CORE, "PersistentVolumeSpec", "hostPath"),
    (CORE, "ResourceQuotaSpec", "hard scopeSelector scopes"),
    (CORE, "LimitRangeItem", "type"),
    (CORE, "NodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"),
    (CORE, "NodeSelectorTerm", "matchExpressions"),
    (CORE, "ServiceSpec", "externalIPs type"),
    ("pulumi_kubernetes.core.v1", "Secret", "data stringData"),
    ("pulumi_kubernetes.core.v1", "ServiceAccount", "automountServiceAccountToken metadata"),
    (BATCH, "JobSpec", "podFailurePolicy template"),
    (BATCH, "PodFailurePolicyRule", "action onPodConditions"),
    (BATCH, "CronJobSpec", "jobTemplate"),
    (NETWORK, "NetworkPolicySpec", "egress ingress podSelector policyTypes"),
    (NETWORK, "NetworkPolicyPeer", "ipBlock namespaceSelector podSelector"),
    (NETWORK, "NetworkPolicyIngressRule", "from ports"),
    (NETWORK, "NetworkPolicyEgressRule", "to ports"),
    (RBAC, "Role", "rules"),
    (RBAC, "ClusterRole", "rules"),
    (RBAC, "RoleBinding", "roleRef subjects"),
    (f"{RBAC}.outputs", "PolicyRule", "apiGroups nonResourceURLs resourceNames resources verbs"),
    (f"{RBAC}.outputs", "Subject", "kind name namespace"),
    ("pulumi_kubernetes.helm.v3", "Release", "chart"),
    ("pulumi_aws.budgets", "Budget", "budgetType notifications"),
    (
        "pulumi_aws.budgets.outputs",
        "BudgetNotification",
        "comparisonOperator notificationType subscriberEmailAddresses subscriberSnsTopicArns threshold thresholdType",
    ),
    ("pulumi_aws.eks", "NodeGroup", "amiType capacityType instanceTypes labels launchTemplate scalingConfig"),
    ("pulumi_aws.eks.outputs", "NodeGroupScalingConfig", "minSize"),
    ("pulumi_aws.eks", "PodIdentityAssociation", "serviceAccount"),
    ("pulumi_aws.ec2", "LaunchTemplate", "capacityReservationSpecification instanceType tagSpecifications"),
    ("pulumi_aws.ec2.outputs", "LaunchTemplateTagSpecification", "resourceType tags"),
    ("pulumi_aws.ec2.outputs", "LaunchTemplateCapacityReservationSpecification", "capacityReservationTarget"),
    (
        "pulumi_aws.ec2.outputs",
        "LaunchTemplateCapacityReservationSpecificationCapacityReservationTarget",
        "capacityReservationId capacityReservationResourceGroupArn",
    ),
]


@pytest.mark.parametrize(("module", "name", "read"), READ, ids=[f"{module}.{name}" for module, name, _ in READ])
def test_properties_that_rules_read_exist(module: str, name: str, read: str) -> None:
    held = vars(getattr(importlib.import_module(module), name))
    known = {
        getattr(getter.fget, "_pulumi_name", None) or key
        for key, getter in held.items()
        if isinstance(getter, property)
    }

    assert set(read.split()) - known == set()


def test_types_of_kubernetes_that_rules_know_exist() -> None:
    known = Path(pulumi_kubernetes.__file__).read_text(encoding="utf-8")
    kinds = ("Job", "CronJob", "Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "Pod", "PodTemplate")
    groups = {"Job": "batch/v1", "CronJob": "batch/v1", "Pod": "core/v1", "PodTemplate": "core/v1"}
    tokens = {f"kubernetes:{groups.get(kind, 'apps/v1')}:{kind}{suffix}" for kind in kinds for suffix in ("", "Patch")}
    named = {
        "kubernetes:core/v1:PersistentVolume",
        "kubernetes:core/v1:PersistentVolumePatch",
        "kubernetes:core/v1:ReplicationController",
        "kubernetes:core/v1:LimitRange",
        "kubernetes:core/v1:ResourceQuota",
        "kubernetes:core/v1:SecretPatch",
        "kubernetes:core/v1:ServicePatch",
        "kubernetes:networking.k8s.io/v1:IngressPatch",
        "kubernetes:networking.k8s.io/v1:NetworkPolicy",
        "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBindingPatch",
        "kubernetes:rbac.authorization.k8s.io/v1:ClusterRolePatch",
        "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding",
        "kubernetes:rbac.authorization.k8s.io/v1:Role",
    }

    assert all(has_pods(token) for token in tokens)
    assert {token for token in tokens | named | CONFIG_MAPS if f'"{token}"' not in known} == set()
    assert any(f'"{token}"' in known for token in NAMESPACES)


def test_every_type_of_the_sdk_that_has_pods_is_judged() -> None:
    privileged = next(rule for rule in RULES if rule.id == "pod-not-privileged")
    for group in (
        "core/v1",
        "apps/v1",
        "apps/v1beta1",
        "apps/v1beta2",
        "extensions/v1beta1",
        "batch/v1",
        "batch/v1beta1",
    ):
        path = f"pulumi_kubernetes.{group.replace('/', '.')}"
        module, outputs = importlib.import_module(path), importlib.import_module(f"{path}.outputs")
        for name, spec in vars(outputs).items():
            kind = name.removesuffix("Spec")
            if name.endswith("Spec") and "template" in vars(spec) and hasattr(module, kind):
                assert privileged.applies(f"kubernetes:{group}:{kind}"), kind
