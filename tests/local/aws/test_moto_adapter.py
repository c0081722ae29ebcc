"""The emulated account, asked with boto3: what Trainyard changes in moto, and the contract that it can."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from waiting import WAIT_SECONDS, wait_until

from trainyard.local.aws import moto_adapter
from trainyard.local.aws.moto_adapter import MotoChangedError
from trainyard.local.aws.moto_adapter.expectations import add, require_mentions, require_parameters, wrap
from trainyard.local.process import is_running

ACCOUNT = "123456789012"


class TestContract:
    def test_moto_is_as_the_adapter_expects(self):
        moto_adapter.require_expected_moto()

    def test_a_changed_moto_is_named_with_what_is_missing(self):
        def function(self):
            """Does nothing."""

        with pytest.raises(MotoChangedError, match=r"function of moto .* has no event; .* has to be adapted"):
            require_parameters(function, "self", "event")
        with pytest.raises(MotoChangedError, match=r"has no self\.keys"):
            require_mentions(function, "self.keys")

    def test_what_moto_learns_by_itself_is_not_overwritten(self):
        class Response:
            def describe(self):
                """Moto's own."""

        with pytest.raises(MotoChangedError, match="of its own"):
            add(Response, "describe", print)

    def test_wrapping_twice_changes_nothing(self):
        class Backend:
            def count(self) -> int:
                return 1

        for _ in range(2):
            wrap(Backend, "count", lambda original: lambda backend: original(backend) + 1)
        assert Backend().count() == 2


def allow(service: str, actions: Any, resource: str = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": {"Service": service}, "Action": actions, "Resource": resource, **more}


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


class Wiring:
    """A rule that sends to a queue, whose policies a test chooses."""

    def __init__(self, aws: Callable[..., Any], name: str, pattern: Any = None) -> None:
        self.aws, self.name = aws, name
        self.queue = aws("sqs").create_queue(QueueName=name)["QueueUrl"]
        self.queue_arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{name}"
        pattern = pattern or {"source": ["test"], "detail-type": [name]}
        self.rule_arn = aws("events").put_rule(Name=name, EventPattern=json.dumps(pattern))["RuleArn"]
        self.target()

    def target(self, **more: Any) -> None:
        self.aws("events").put_targets(Rule=self.name, Targets=[{"Id": "t", "Arn": self.queue_arn, **more}])

    def let_in(self, **more: Any) -> None:
        text = document(allow("events.amazonaws.com", "sqs:SendMessage", self.queue_arn, **more))
        self.aws("sqs").set_queue_attributes(QueueUrl=self.queue, Attributes={"Policy": text})

    def encrypt(self, policy: str) -> str:
        key = self.aws("kms").create_key(Policy=policy)["KeyMetadata"]["Arn"]
        self.aws("sqs").set_queue_attributes(QueueUrl=self.queue, Attributes={"KmsMasterKeyId": key})
        return key

    def send(self, detail: Any = None, source: str = "test") -> None:
        entry = {"Source": source, "DetailType": self.name, "Detail": json.dumps(detail or {"n": 1})}
        assert self.aws("events").put_events(Entries=[entry])["FailedEntryCount"] == 0

    def received(self, queue: str = "") -> list[dict[str, Any]]:
        answer = self.aws("sqs").receive_message(
            QueueUrl=queue or self.queue, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        )
        return answer.get("Messages", [])

    def count(self, metric: str) -> float:
        now = datetime.now(UTC)
        answer = self.aws("cloudwatch").get_metric_statistics(
            Namespace="AWS/Events",
            MetricName=metric,
            Dimensions=[{"Name": "RuleName", "Value": self.name}],
            StartTime=now - timedelta(minutes=5),
            EndTime=now + timedelta(minutes=5),
            Period=600,
            Statistics=["Sum"],
        )
        return sum(point["Sum"] for point in answer["Datapoints"])


OWNER = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "kms:*", "Resource": "*"}
EVENTS = allow("events.amazonaws.com", ["kms:GenerateDataKey", "kms:Decrypt"])


class TestEvents:
    def test_an_event_arrives_as_aws_sends_it(self, aws):
        wiring = Wiring(aws, "open")
        wiring.let_in(Condition={"ArnEquals": {"aws:SourceArn": wiring.rule_arn}})
        wiring.send({"instance-id": "i-1"})
        (message,) = wiring.received()
        event = json.loads(message["Body"])
        assert event["account"] == ACCOUNT
        assert event["detail"] == {"instance-id": "i-1"}
        assert event["time"].endswith("Z")
        assert "ingestion-time" not in event
        assert wiring.count("Invocations") == 1
        assert wiring.count("FailedInvocations") == 0

    def test_without_a_policy_it_is_dropped_and_counted(self, aws):
        wiring = Wiring(aws, "closed")
        wiring.send()
        assert wiring.received() == []
        assert wiring.count("FailedInvocations") == 1

    def test_with_a_policy_for_another_rule_too(self, aws):
        wiring = Wiring(aws, "other-rule")
        wiring.let_in(Condition={"ArnEquals": {"aws:SourceArn": f"{wiring.rule_arn}-other"}})
        wiring.send()
        assert wiring.received() == []
        assert wiring.count("FailedInvocations") == 1

    def test_a_key_has_to_let_it_in_as_well(self, aws):
        wiring = Wiring(aws, "locked")
        wiring.let_in()
        wiring.encrypt(document(OWNER))
        wiring.send()
        assert wiring.received() == []
        wiring.encrypt(document(OWNER, EVENTS))
        wiring.send()
        assert len(wiring.received()) == 1
        assert wiring.count("FailedInvocations") == 1

    @pytest.mark.parametrize("how", ["disable_key", "schedule_key_deletion"])
    def test_a_key_that_cannot_be_used_lets_nothing_in(self, aws, how: str):
        wiring = Wiring(aws, how.replace("_", "-"))
        wiring.let_in()
        key = wiring.encrypt(document(OWNER, EVENTS))
        getattr(aws("kms"), how)(KeyId=key)
        wiring.send()
        assert wiring.received() == []

    def test_an_aws_managed_key_lets_nothing_in(self, aws):
        wiring = Wiring(aws, "managed-key")
        wiring.let_in()
        aws("sqs").set_queue_attributes(QueueUrl=wiring.queue, Attributes={"KmsMasterKeyId": "alias/aws/sqs"})
        wiring.send()
        assert wiring.received() == []

    def test_a_rule_that_does_not_match_delivers_nothing(self, aws):
        wiring = Wiring(aws, "no-match")
        wiring.let_in()
        wiring.send(source="somebody-else")
        assert wiring.received() == []
        assert wiring.count("TriggeredRules") == 0

    def test_a_disabled_rule_delivers_nothing(self, aws):
        wiring = Wiring(aws, "disabled")
        wiring.let_in()
        aws("events").disable_rule(Name="disabled")
        wiring.send()
        assert wiring.received() == []

    def test_a_rule_with_only_a_schedule_gets_no_events(self, aws):
        wiring = Wiring(aws, "scheduled")
        wiring.let_in()
        aws("events").put_rule(Name="scheduled", ScheduleExpression="rate(1 day)", EventPattern="")
        wiring.send()
        assert wiring.received() == []

    def test_what_cannot_be_delivered_goes_to_the_dead_letter_queue(self, aws):
        wiring = Wiring(aws, "buried")
        dead = aws("sqs").create_queue(QueueName="dead")["QueueUrl"]
        arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:dead"
        aws("sqs").set_queue_attributes(
            QueueUrl=dead, Attributes={"Policy": document(allow("events.amazonaws.com", "sqs:SendMessage", arn))}
        )
        wiring.target(DeadLetterConfig={"Arn": arn})
        wiring.send()
        (message,) = wiring.received(dead)
        assert message["MessageAttributes"]["ERROR_CODE"]["StringValue"] == "NO_PERMISSIONS"
        assert message["MessageAttributes"]["RULE_ARN"]["StringValue"] == wiring.rule_arn
        assert wiring.count("InvocationsSentToDlq") == 1

    def test_one_target_s_trouble_is_not_another_s(self, aws):
        wiring = Wiring(aws, "two-targets")
        wiring.let_in()
        missing = f"arn:aws:sqs:us-east-1:{ACCOUNT}:does-not-exist"
        aws("events").put_targets(Rule="two-targets", Targets=[{"Id": "a", "Arn": missing}])
        wiring.send()
        assert len(wiring.received()) == 1
        assert wiring.count("FailedInvocations") == 1

    def test_input_transformers_paths_and_constants(self, aws):
        wiring = Wiring(aws, "shaped")
        wiring.let_in()
        wiring.target(InputPath="$.detail")
        wiring.send({"n": 7})
        wiring.target(Input='{"constant": true}')
        wiring.send()
        wiring.target(InputTransformer={"InputPathsMap": {"n": "$.detail.n"}, "InputTemplate": '{"number": <n>}'})
        wiring.send({"n": 8})
        bodies = [json.loads(message["Body"]) for message in wiring.received()]
        assert bodies == [{"n": 7}, {"constant": True}, {"number": 8}]


class TestQueues:
    def test_a_policy_survives_the_setting_of_other_attributes(self, aws):
        sqs = aws("sqs")
        url = sqs.create_queue(QueueName="keeps-policy")["QueueUrl"]
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": document(OWNER)})
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "3"})
        assert sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"]["Policy"] == document(
            OWNER
        )
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": ""})
        assert "Attributes" not in sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])

    def test_redrive_allow_policy_is_kept(self, aws):
        sqs = aws("sqs")
        url = sqs.create_queue(QueueName="redrive-allow")["QueueUrl"]
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedriveAllowPolicy": '{"redrivePermission":"denyAll"}'})
        told = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedriveAllowPolicy"])["Attributes"]
        assert told["RedriveAllowPolicy"] == '{"redrivePermission":"denyAll"}'

    def test_a_queue_has_one_encryption(self, aws):
        sqs = aws("sqs")
        url = sqs.create_queue(QueueName="one-encryption", Attributes={"KmsMasterKeyId": "alias/aws/sqs"})["QueueUrl"]
        told = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert told["SqsManagedSseEnabled"] == "false"


class TestOtherServices:
    def test_aws_own_policies_are_there_in_each_partition_and_a_role_may_take_one(self, aws):
        for region, partition in (("us-east-1", "aws"), ("cn-north-1", "aws-cn")):
            iam = aws("iam", region)
            arn = f"arn:{partition}:iam::aws:policy/AmazonEKSClusterPolicy"
            assert iam.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] == 0
            iam.create_role(RoleName="of-a-cluster", AssumeRolePolicyDocument=document())
            iam.attach_role_policy(RoleName="of-a-cluster", PolicyArn=arn)
            assert iam.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] == 1
            first = iam.list_policies(Scope="AWS", MaxItems=1000)
            assert len(first["Policies"]) == 1000
            assert first["IsTruncated"]

    def test_the_period_of_a_key_s_rotation(self, aws):
        kms = aws("kms")
        key = kms.create_key()["KeyMetadata"]["KeyId"]
        assert "RotationPeriodInDays" not in kms.get_key_rotation_status(KeyId=key)
        kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=100)
        assert kms.get_key_rotation_status(KeyId=key)["RotationPeriodInDays"] == 100

    def test_the_key_of_a_log_group_can_be_changed(self, aws):
        logs = aws("logs")
        logs.create_log_group(logGroupName="keyed", kmsKeyId="one")
        logs.associate_kms_key(logGroupName="keyed", kmsKeyId="two")
        assert logs.describe_log_groups(logGroupNamePrefix="keyed")["logGroups"][0]["kmsKeyId"] == "two"
        logs.disassociate_kms_key(logGroupName="keyed")
        assert "kmsKeyId" not in logs.describe_log_groups(logGroupNamePrefix="keyed")["logGroups"][0]
        with pytest.raises(ClientError, match="ResourceNotFoundException"):
            logs.disassociate_kms_key(logGroupName="none")

    def test_a_bucket_that_holds_objects_can_be_locked(self, aws):
        s3, rule = aws("s3"), {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 30}}
        s3.create_bucket(Bucket="records")
        lock = {"Bucket": "records", "ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled", "Rule": rule}}
        with pytest.raises(ClientError, match="InvalidBucketState"):
            s3.put_object_lock_configuration(**lock)
        s3.put_bucket_versioning(Bucket="records", VersioningConfiguration={"Status": "Enabled"})
        s3.put_object(Bucket="records", Key="before", Body=b"")
        s3.put_object_lock_configuration(**lock)
        assert s3.get_object_lock_configuration(Bucket="records")["ObjectLockConfiguration"]["Rule"] == rule
        version = s3.put_object(Bucket="records", Key="after", Body=b"")["VersionId"]
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.delete_object(Bucket="records", Key="after", VersionId=version)
        assert s3.head_object(Bucket="records", Key="before")["ResponseMetadata"]["HTTPStatusCode"] == 200

    def test_a_bucket_s_events_to_eventbridge_are_told(self, aws):
        s3 = aws("s3")
        s3.create_bucket(Bucket="noted")
        assert "EventBridgeConfiguration" not in s3.get_bucket_notification_configuration(Bucket="noted")
        s3.put_bucket_notification_configuration(
            Bucket="noted", NotificationConfiguration={"EventBridgeConfiguration": {}}
        )
        assert s3.get_bucket_notification_configuration(Bucket="noted")["EventBridgeConfiguration"] == {}

    def test_access_logs_need_a_policy_that_means_it(self, aws):
        s3 = aws("s3")
        for name in ("log-source", "log-target"):
            s3.create_bucket(Bucket=name)
        status = {"LoggingEnabled": {"TargetBucket": "log-target", "TargetPrefix": "a/"}}
        tls_only = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": "*",
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
        s3.put_bucket_policy(Bucket="log-target", Policy=document(tls_only))
        with pytest.raises(ClientError, match="InvalidTargetBucketForLogging"):
            s3.put_bucket_logging(Bucket="log-source", BucketLoggingStatus=status)
        source = {"ArnLike": {"aws:SourceArn": "arn:aws:s3:::log-source"}}
        letting_in = allow("logging.s3.amazonaws.com", "s3:Put*", "arn:aws:s3:::log-target/a/*", Condition=source)
        s3.put_bucket_policy(Bucket="log-target", Policy=document(tls_only, letting_in))
        s3.put_bucket_logging(Bucket="log-source", BucketLoggingStatus=status)
        assert s3.get_bucket_logging(Bucket="log-source")["LoggingEnabled"]["TargetPrefix"] == "a/"

    def test_flow_logs_keep_their_file_format(self, aws):
        ec2, s3 = aws("ec2"), aws("s3")
        s3.create_bucket(Bucket="flow-logs")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        options = {"FileFormat": "parquet", "HiveCompatiblePartitions": True, "PerHourPartition": False}
        (flow_log,) = ec2.create_flow_logs(
            ResourceIds=[vpc],
            ResourceType="VPC",
            TrafficType="ALL",
            LogDestinationType="s3",
            LogDestination="arn:aws:s3:::flow-logs",
            DestinationOptions=options,
        )["FlowLogIds"]
        assert ec2.describe_flow_logs(FlowLogIds=[flow_log])["FlowLogs"][0]["DestinationOptions"] == options

    def test_gateway_endpoints_have_no_private_dns(self, aws):
        ec2 = aws("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        made = ec2.create_vpc_endpoint(VpcId=vpc, ServiceName="com.amazonaws.us-east-1.s3", VpcEndpointType="Gateway")
        assert made["VpcEndpoint"]["PrivateDnsEnabled"] is False

    def test_a_network_with_something_in_it_is_not_deleted(self, aws):
        ec2 = aws("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        group = ec2.create_security_group(GroupName="g", Description="g", VpcId=vpc)["GroupId"]
        with pytest.raises(ClientError, match="DependencyViolation"):
            ec2.delete_vpc(VpcId=vpc)
        ec2.delete_security_group(GroupId=group)
        ec2.delete_vpc(VpcId=vpc)


class TestServer:
    def test_it_ends_at_sigterm_and_prints_its_address_first(self):
        process = self._start("--port", "0")
        assert process.stdout is not None
        assert process.stdout.readline().startswith("emulated AWS account at http://127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 0

    def test_it_ends_with_its_parent(self):
        program = (
            "import subprocess, sys, time\n"
            "child = subprocess.Popen([sys.executable, '-m', 'trainyard.local.aws.server'], stdout=subprocess.PIPE)\n"
            "child.stdout.readline()\n"
            "print(child.pid, flush=True)\n"
            "time.sleep(600)\n"
        )
        parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        wait_until(lambda: not is_running(pid))

    def test_a_taken_port_is_an_error_for_people(self, endpoint: str):
        process = self._start("--port", endpoint.rsplit(":", 1)[1])
        assert process.wait(WAIT_SECONDS) == 2
        assert process.stderr is not None
        error = process.stderr.read()
        assert "cannot serve on 127.0.0.1" in error
        assert "Traceback" not in error

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "trainyard.local.aws.server", *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
