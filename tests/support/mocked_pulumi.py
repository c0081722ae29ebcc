"""Runs a Pulumi program under mocks to its very end, and keeps what it registered.

A Pulumi test that lacks its decorator, or whose assertion stands in an `apply` that nobody awaits, passes whatever it
says. Here the program runs first, every output is awaited, and a test then asserts on plain values.
"""

from __future__ import annotations

import asyncio
import contextvars
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi.runtime import get_root_resource, set_all_config, set_mocks
from pulumi.runtime.mocks import MockCallArgs, MockMonitor, MockResourceArgs, Mocks
from pulumi.runtime.settings import SETTINGS
from pulumi.runtime.stack import run_pulumi_func

ACCOUNT, REGION = "123456789012", "us-east-1"
CALLER = "arn:aws:sts::123456789012:assumed-role/deployer/session"


@dataclass(frozen=True)
class Registered:
    """One resource as the engine got to see it; property names in the provider's spelling (`cidrBlock`)."""

    type: str
    name: str
    urn: str
    id: str
    parent: str
    provider: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    protect: bool
    retain_on_delete: bool
    dependencies: frozenset[str]

    @property
    def is_component(self) -> bool:
        return self.type.startswith("trainyard:")


@dataclass
class Deployment:
    """What a program registered, in order, and what it exported."""

    resources: list[Registered] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)

    def of_type(self, token: str) -> list[Registered]:
        return [resource for resource in self.resources if resource.type == token]

    def one(self, token: str, name: str | None = None) -> Registered:
        """The only resource of this type, or of this type and name."""
        found = [resource for resource in self.of_type(token) if name in (None, resource.name)]
        assert len(found) == 1, f"{len(found)} resources {token} {name or ''}; there are {self.names()}"
        return found[0]

    def names(self) -> list[str]:
        return [f"{resource.type} {resource.name}" for resource in self.resources]


class AwsMocks(Mocks):
    """Answers as AWS would, as far as the modules look: ids, names and ARNs."""

    def call(self, args: MockCallArgs) -> tuple[dict, list[tuple[str, str]] | None]:
        answers = {
            "aws:index/getCallerIdentity:getCallerIdentity": {"accountId": ACCOUNT, "arn": CALLER},
            "aws:index/getPartition:getPartition": {"partition": "aws", "dnsSuffix": "amazonaws.com"},
            "aws:index/getRegion:getRegion": {"region": REGION},
        }
        return answers[args.token], []

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict]:
        unique = uuid.uuid5(uuid.NAMESPACE_OID, args.name).hex
        name = args.inputs.get("name", f"{args.name}-{unique[:7]}")
        made: dict[str, Any] = {}
        identifier = f"{args.typ.rpartition(':')[2].lower()}-{unique[:8]}"
        match args.typ:
            case "aws:s3/bucket:Bucket":
                identifier = name
                made = {"arn": f"arn:aws:s3:::{name}", "bucket": name}
            case "aws:kms/key:Key":
                identifier = str(uuid.UUID(unique))
                made = {"arn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{identifier}", "keyId": identifier}
            case "aws:sqs/queue:Queue":
                identifier = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}"
                made = {"arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}", "url": identifier, "name": name}
            case "aws:cloudwatch/eventRule:EventRule":
                made = {"arn": f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{name}", "name": name}
            case "aws:cloudwatch/logGroup:LogGroup":
                made = {"arn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{name}", "name": name}
            case "aws:fsx/lustreFileSystem:LustreFileSystem":
                identifier = f"fs-{unique[:17]}"
                made = {
                    "arn": f"arn:aws:fsx:{REGION}:{ACCOUNT}:file-system/{identifier}",
                    "dnsName": f"{identifier}.fsx.{REGION}.amazonaws.com",
                    "mountName": unique[:8],
                }
            case "aws:sns/topic:Topic":
                identifier = f"arn:aws:sns:{REGION}:{ACCOUNT}:{name}"
                made = {"arn": identifier, "name": name}
            case "aws:cloudwatch/metricAlarm:MetricAlarm":
                made = {"arn": f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{name}", "name": name}
            case "aws:budgets/budget:Budget":
                made = {"name": name}
            case "aws:backup/vault:Vault":
                identifier = name
                made = {"arn": f"arn:aws:backup:{REGION}:{ACCOUNT}:backup-vault:{name}", "name": name}
            case "aws:iam/role:Role" | "aws:iam/instanceProfile:InstanceProfile":
                kind = args.typ.partition("/")[2].partition(":")[0].replace("instanceProfile", "instance-profile")
                made = {"arn": f"arn:aws:iam::{ACCOUNT}:{kind}/{name}", "name": name}
            case "aws:eks/cluster:Cluster":
                identifier = name
                made = {
                    "arn": f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/{name}",
                    "endpoint": f"https://{unique.upper()}.gr7.{REGION}.eks.amazonaws.com",
                    "certificateAuthority": {"data": "Q0VSVElGSUNBVEU="},
                    "vpcConfig": {**args.inputs["vpcConfig"], "clusterSecurityGroupId": f"sg-{unique[:17]}"},
                }
            case "aws:eks/nodeGroup:NodeGroup":
                made = {
                    "arn": f"arn:aws:eks:{REGION}:{ACCOUNT}:nodegroup/{args.inputs['clusterName']}/{name}/{unique}",
                    "nodeGroupName": name,
                    "resources": [{"autoscalingGroups": [{"name": f"eks-{name}-{unique[:8]}"}]}],
                }
            case "aws:ec2/launchTemplate:LaunchTemplate":
                identifier = f"lt-{unique[:17]}"
                made = {"latestVersion": 1, "name": name}
            case "aws:ec2/placementGroup:PlacementGroup":
                identifier = name
                made = {"name": name}
            case "aws:ecr/repository:Repository":
                identifier = name
                made = {
                    "arn": f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{name}",
                    "repositoryUrl": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{name}",
                    "name": name,
                }
            case "aws:codebuild/project:Project":
                made = {"arn": f"arn:aws:codebuild:{REGION}:{ACCOUNT}:project/{name}", "name": name}
        return identifier, {**args.inputs, **made}


class _Recorder(MockMonitor):
    """Pulumi's mock monitor, which drops a resource's options, with a memory."""

    def __init__(self, mocks: Mocks) -> None:
        super().__init__(mocks)
        self.registered: list[Registered] = []

    def RegisterResource(self, request: Any) -> Any:
        response = super().RegisterResource(request)
        if request.type != "pulumi:pulumi:Stack":
            self.registered.append(
                Registered(
                    type=request.type,
                    name=request.name,
                    urn=response.urn,
                    id=response.id,
                    parent=request.parent,
                    provider=request.provider,
                    inputs=pulumi.runtime.rpc.deserialize_properties(request.object),
                    outputs=self.resources[response.urn].state,
                    protect=request.protect,
                    retain_on_delete=request.retainOnDelete,
                    dependencies=frozenset(request.dependencies),
                )
            )
        return response


def run(
    program: Callable[[], object],
    *,
    project: str = "trainyard",
    stack: str = "test",
    config: Mapping[str, str] | None = None,
) -> Deployment:
    """Run `program` until every resource is registered and every output known.

    Raises whatever the program raises, in its body or in any `apply`, awaited or not.
    """
    return contextvars.copy_context().run(_run, program, project, stack, dict(config or {}))


def _run(program: Callable[[], object], project: str, stack: str, config: dict[str, str]) -> Deployment:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    monitor = _Recorder(AwsMocks())
    exported: dict[str, Any] = {}

    def whole() -> None:
        program()
        root = get_root_resource()
        pulumi.Output.all(**getattr(root, "outputs", {})).apply(exported.update)

    try:
        set_all_config(config)
        set_mocks(monitor.mocks, project=project, stack=stack, preview=False, monitor=monitor)
        # The outputs in waiting are kept for the whole process: those of a run that failed are not ours.
        SETTINGS.outputs.clear()
        loop.run_until_complete(run_pulumi_func(whole))
    finally:
        unfinished = asyncio.all_tasks(loop)
        for task in unfinished:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*unfinished, return_exceptions=True))
        asyncio.set_event_loop(None)
        loop.close()
    return Deployment(monitor.registered, exported)
