"""EC2: flow logs, as `ec2.py` takes them in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trainyard.local.aws.calls import Call, Derive, Read
from trainyard.local.aws.context import Context
from trainyard.local.aws.fields import ID, Field, Named, Object, Scope, leaves, pascal
from trainyard.local.aws.row import Row
from trainyard.local.aws.tags import ec2_tags
from trainyard.local.aws.values import OMIT


@dataclass(frozen=True)
class FirstOf(Field):
    """The first of several properties that is set, or what stands for it in `kinds`."""

    kinds: Mapping[str, str]
    told: bool = False

    def write(self, scope: Scope) -> Any:
        for property_, kind in self.kinds.items():
            if scope.values.get(property_):
                return kind if self.told else scope.values[property_]
        return OMIT

    def leaves(self) -> Iterator[Named]:
        for property_ in self.kinds:
            yield from leaves(property_)


_LOGGED = {"vpcId": "VPC", "subnetId": "Subnet", "eniId": "NetworkInterface"}
_LOGGED_PREFIXES = {"vpc-": "vpcId", "subnet-": "subnetId", "eni-": "eniId"}


def _logged(context: Context, observed: Mapping[str, Any]) -> Mapping[str, Any]:
    del context
    resource = observed.get("_resource") or ""
    return {property_: resource for prefix, property_ in _LOGGED_PREFIXES.items() if resource.startswith(prefix)}


def _needs_role(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    to_logs = inputs.get("logDestinationType") == "cloud-watch-logs"
    if to_logs and "iamRoleArn" not in inputs:
        yield "iamRoleArn", "is missing: flow logs go to CloudWatch Logs with a role"
    if to_logs and "destinationOptions" in inputs:
        yield "destinationOptions", "is for flow logs that go to S3"
    if "logDestination" not in inputs:
        yield "logDestination", "is missing: say where the flow logs go"


def _flow_log() -> Row:
    settings = {
        **pascal("logDestination", "logDestinationType", "logFormat", "maxAggregationInterval", "trafficType"),
        "DeliverLogsPermissionArn": "iamRoleArn",
        "DestinationOptions": Object(
            "destinationOptions", pascal("fileFormat", "hiveCompatiblePartitions", "perHourPartition")
        ),
    }
    return Row(
        "aws:ec2/flowLog:FlowLog",
        service="ec2",
        cloudformation="AWS::EC2::FlowLog",
        id="FlowLogIds[0]",
        create=Call(
            "create_flow_logs",
            {**settings, "ResourceIds": [FirstOf(_LOGGED)], "ResourceType": FirstOf(_LOGGED, told=True)},
            failures="Unsuccessful[].Error",
        ),
        read=(
            Read(
                "describe_flow_logs",
                {"FlowLogIds": [ID]},
                {**settings, "ResourceId": "_resource"},
                path="FlowLogs[0]",
                gone=("InvalidFlowLogId.NotFound",),
            ),
            Derive(_logged, tuple(_LOGGED)),
        ),
        delete=(
            Call(
                "delete_flow_logs",
                {"FlowLogIds": [ID]},
                ignore=("InvalidFlowLogId.NotFound",),
                failures="Unsuccessful[].Error",
            ),
        ),
        tags=ec2_tags("vpc-flow-log"),
        defaults={"logDestinationType": "cloud-watch-logs", "maxAggregationInterval": 600},
        computed=("logFormat", "destinationOptions"),
        replace_on=("iamRoleArn", *_LOGGED),
        exactly_one=(tuple(_LOGGED),),
        constraints=(_needs_role,),
        schema_names={"iamRoleArn": "DeliverLogsPermissionArn"},
        outputs={"arn": "arn:{partition}:ec2:{region}:{account}:vpc-flow-log/{id}"},
        not_emulated={
            "deliverCrossAccountRole": "the emulator has one account",
            "regionalNatGatewayId": "flow logs of gateways are not emulated",
            "tagFieldSpecifications": "tags in flow logs are not emulated",
            "transitGatewayAttachmentId": "transit gateways are not emulated",
            "transitGatewayId": "transit gateways are not emulated",
        },
        notes=("no traffic flows in the emulated account, so no flow log is ever written",),
    )


ROWS = (_flow_log(),)
