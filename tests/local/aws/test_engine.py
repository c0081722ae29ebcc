"""Create, update, read and delete where something is out of the ordinary."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from aws_program import CheckFailedError, Program

from trainyard.local.aws import rows as rows_module
from trainyard.local.aws.account import Account
from trainyard.local.aws.calls import Call, Do
from trainyard.local.aws.errors import AwsError, HalfMadeError, ProviderError
from trainyard.local.aws.provider import Configuration, Provider
from trainyard.local.aws.rows import row_for
from trainyard.local.aws.values import UNKNOWN

QUEUE = "aws:sqs/queue:Queue"
BUCKET = "aws:s3/bucket:Bucket"
KEY = "aws:kms/key:Key"
ROLE = "aws:iam/role:Role"
ALLOW_ALL = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
TRUST = json.dumps({"Version": "2012-10-17", "Statement": []})


@pytest.fixture
def use_row(monkeypatch):
    """Let the provider use a changed row for this test."""

    def use(row):
        changed = {**rows_module.rows(), row.token: row}
        monkeypatch.setattr(rows_module, "rows", lambda: changed)

    return use


class TestPreview:
    def test_what_aws_will_say_is_unknown_and_what_is_asked_for_is_not(self, program: Program):
        checked = program._check(QUEUE, "q", {"delaySeconds": 5}, None)
        resource_id, outputs = program.provider.create(QUEUE, checked, preview=True)
        assert resource_id == ""
        assert outputs["arn"] is UNKNOWN
        assert outputs["url"] is UNKNOWN
        assert outputs["maxMessageSize"] is UNKNOWN
        assert outputs["delaySeconds"] == 5
        assert outputs["name"] == checked["name"]
        assert "kmsMasterKeyId" not in outputs
        assert "__defaults" not in outputs

    def test_a_preview_makes_nothing(self, program: Program, aws):
        checked = program._check(BUCKET, "b", {"bucket": "only-previewed"}, None)
        program.provider.create(BUCKET, checked, preview=True)
        assert "only-previewed" not in {bucket["Name"] for bucket in aws("s3").list_buckets()["Buckets"]}

    def test_an_update_keeps_the_outputs_that_do_not_change(self, program: Program):
        queue = program.up(QUEUE, "q", kmsMasterKeyId="alias/aws/sqs")
        checked = program._check(QUEUE, "q", {"delaySeconds": 5}, queue)
        outputs = program.provider.update(QUEUE, queue.id, checked, queue.inputs, queue.outputs, preview=True)
        assert outputs["arn"] == queue["arn"]
        assert outputs["delaySeconds"] == 5
        assert "kmsMasterKeyId" not in outputs

    def test_unknown_inputs_do_not_reach_the_account(self, program: Program):
        checked = program._check(QUEUE, "q", {"delaySeconds": UNKNOWN}, None)
        with pytest.raises(ProviderError, match="unknown outside a preview"):
            program.provider.create(QUEUE, checked, preview=False)


class TestReplacement:
    def test_a_generated_name_changes_and_the_old_resource_goes_last(self, program: Program):
        old = program.up(QUEUE, "q")
        new = program.up(QUEUE, "q", fifoQueue=True)
        assert program.log == ["create q", "create q", "delete q"]
        assert new["name"] != old["name"]

    def test_a_fixed_name_is_freed_first(self, program: Program):
        program.up(ROLE, "r", name="fixed", assumeRolePolicy=TRUST)
        program.up(ROLE, "r", name="fixed", assumeRolePolicy=TRUST, path="/p/")
        assert program.log == ["create r", "delete r", "create r"]

    def test_a_prefix_makes_a_name_that_stays(self, program: Program):
        role = program.up(ROLE, "r", namePrefix="pre-", assumeRolePolicy=TRUST)
        assert role["name"].startswith("pre-")
        assert len(role["name"]) == len("pre-") + 26
        again = program.up(ROLE, "r", namePrefix="pre-", assumeRolePolicy=TRUST, description="d")
        assert again["name"] == role["name"]
        assert program.log == ["create r", "update r"]


class TestRegions:
    def test_a_resource_s_own_region_is_really_used(self, program: Program, aws):
        queue = program.up(QUEUE, "q", region="eu-west-1")
        assert queue["region"] == "eu-west-1"
        assert ":eu-west-1:" in queue["arn"]
        assert any(queue["name"] in url for url in aws("sqs", "eu-west-1").list_queues()["QueueUrls"])
        assert not any(queue["name"] in url for url in aws("sqs").list_queues().get("QueueUrls", []))
        assert program.refresh("q") is not None
        program.up(QUEUE, "q", region="eu-west-1", delaySeconds=3)
        program.destroy("q")
        assert not any(queue["name"] in url for url in aws("sqs", "eu-west-1").list_queues().get("QueueUrls", []))

    def test_another_region_is_another_resource(self, program: Program):
        program.up(QUEUE, "q")
        moved = program.up(QUEUE, "q", region="eu-west-1")
        assert program.log == ["create q", "create q", "delete q"]
        assert ":eu-west-1:" in moved["arn"]

    def test_an_id_with_a_region_imports_from_there(self, program: Program, aws):
        vpc = aws("ec2", "eu-west-1").create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
        imported = program.import_("aws:ec2/vpc:Vpc", "v", f"{vpc}@eu-west-1")
        assert imported is not None
        assert imported.id == vpc
        assert imported.inputs["region"] == "eu-west-1"
        assert program.preview("aws:ec2/vpc:Vpc", "v", cidrBlock="10.9.0.0/16", region="eu-west-1") == [
            "tagsAll.environment",
            'tagsAll["managed-by"]',
        ]


class TestDrift:
    def test_a_setting_changed_outside_is_found_and_put_back(self, program: Program, aws):
        queue = program.up(QUEUE, "q", delaySeconds=5)
        aws("sqs").set_queue_attributes(QueueUrl=queue["url"], Attributes={"DelaySeconds": "9"})
        refreshed = program.refresh("q")
        assert refreshed is not None
        assert refreshed["delaySeconds"] == 9
        assert program.preview(QUEUE, "q", delaySeconds=5) == ["delaySeconds"]
        assert program.up(QUEUE, "q", delaySeconds=5)["delaySeconds"] == 5
        attributes = aws("sqs").get_queue_attributes(QueueUrl=queue["url"], AttributeNames=["All"])["Attributes"]
        assert attributes["DelaySeconds"] == "5"

    def test_a_setting_that_the_program_leaves_at_its_default(self, program: Program, aws):
        key = program.up(KEY, "k")
        aws("kms").disable_key(KeyId=key.id)
        program.refresh("k")
        assert program.preview(KEY, "k") == ["isEnabled"]
        program.up(KEY, "k")
        assert aws("kms").describe_key(KeyId=key.id)["KeyMetadata"]["Enabled"]

    def test_tags_changed_outside(self, program: Program, aws):
        queue = program.up(QUEUE, "q", tags={"owner": "me"})
        aws("sqs").untag_queue(QueueUrl=queue["url"], TagKeys=["managed-by"])
        aws("sqs").tag_queue(QueueUrl=queue["url"], Tags={"stray": "x", "owner": "you"})
        refreshed = program.refresh("q")
        assert refreshed is not None
        assert refreshed.inputs["tags"] == {"owner": "you", "stray": "x"}
        assert program.preview(QUEUE, "q", tags={"owner": "me"}) == [
            "tags.owner",
            "tags.stray",
            "tagsAll.owner",
            "tagsAll.stray",
            'tagsAll["managed-by"]',
        ]
        program.up(QUEUE, "q", tags={"owner": "me"})
        tags = aws("sqs").list_queue_tags(QueueUrl=queue["url"])["Tags"]
        assert tags == {"owner": "me", "environment": "test", "managed-by": "trainyard"}

    def test_a_rule_added_to_a_list_outside(self, program: Program, aws):
        group = program.up("aws:ec2/securityGroup:SecurityGroup", "g", ingress=[], egress=[])
        open_door = [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
        aws("ec2").authorize_security_group_ingress(GroupId=group.id, IpPermissions=open_door)
        program.refresh("g")
        assert program.preview("aws:ec2/securityGroup:SecurityGroup", "g", ingress=[], egress=[]) == ["ingress"]
        program.up("aws:ec2/securityGroup:SecurityGroup", "g", ingress=[], egress=[])
        assert aws("ec2").describe_security_groups(GroupIds=[group.id])["SecurityGroups"][0]["IpPermissions"] == []

    @pytest.mark.parametrize("token", [QUEUE, BUCKET, KEY])
    def test_a_resource_deleted_outside_leaves_the_state(self, program: Program, aws, token: str):
        resource = program.up(token, "gone")
        if token == QUEUE:
            aws("sqs").delete_queue(QueueUrl=resource["url"])
        elif token == BUCKET:
            aws("s3").delete_bucket(Bucket=resource["bucket"])
        else:
            aws("kms").schedule_key_deletion(KeyId=resource.id, PendingWindowInDays=7)
        assert program.refresh("gone") is None

    def test_deleting_what_is_gone_is_no_error(self, program: Program, aws):
        bucket = program.up(BUCKET, "b")
        aws("s3").delete_bucket(Bucket=bucket["bucket"])
        program.destroy("b")

    def test_updating_what_is_gone_says_so(self, program: Program, aws):
        queue = program.up(QUEUE, "q")
        aws("sqs").delete_queue(QueueUrl=queue["url"])
        with pytest.raises(ProviderError, match="pulumi refresh"):
            program.up(QUEUE, "q", delaySeconds=3)

    def test_an_id_of_nothing_imports_nothing(self, program: Program):
        assert program.import_("aws:ec2/vpc:Vpc", "v", "vpc-00000000") is None
        with pytest.raises(ProviderError, match=r"it looks like \{role\}:\{name\}"):
            program.import_("aws:iam/rolePolicy:RolePolicy", "p", "no-colon")


class TestFailure:
    def test_aws_s_own_words_are_shown(self, program: Program):
        with pytest.raises(AwsError) as error:
            program.up(
                "aws:s3/bucketVersioning:BucketVersioning",
                "v",
                bucket="nowhere",
                versioningConfiguration={"status": "Enabled"},
            )
        assert str(error.value) == "s3:PutBucketVersioning: NoSuchBucket: The specified bucket does not exist"

    def test_nothing_is_kept_of_a_resource_whose_first_call_fails(self, program: Program):
        program.up(BUCKET, "one", bucket="taken-name", region="eu-west-1")
        with pytest.raises(AwsError, match="BucketAlready"):
            program.up(BUCKET, "two", bucket="taken-name", region="eu-west-1")
        assert "two" not in program.resources

    def test_a_resource_whose_second_call_fails_is_kept_and_mended_by_the_next_update(self, program: Program, aws):
        with pytest.raises(HalfMadeError, match="kms:EnableKeyRotation: LimitExceededException: later") as error:
            self._make_with_broken_step(program)
        kept = program.resources["k"]
        assert kept.id == error.value.resource_id
        assert aws("kms").describe_key(KeyId=kept.id)["KeyMetadata"]["Enabled"]
        program.up(KEY, "k", enableKeyRotation=True)
        assert program.log == ["update k"]
        assert aws("kms").get_key_rotation_status(KeyId=kept.id)["KeyRotationEnabled"]
        assert "__unfinished" not in program.resources["k"].outputs

    def _make_with_broken_step(self, program: Program) -> None:
        client = program.provider.account.client("kms", "us-east-1")

        def refuse(**kwargs):
            from botocore.exceptions import ClientError

            raise ClientError({"Error": {"Code": "LimitExceededException", "Message": "later"}}, "EnableKeyRotation")

        client.meta.events.register_first("before-call.kms.EnableKeyRotation", refuse, unique_id="broken")
        try:
            program.up(KEY, "k", enableKeyRotation=True)
        finally:
            client.meta.events.unregister("before-call.kms.EnableKeyRotation", unique_id="broken")

    def test_a_half_made_resource_can_be_refreshed_and_destroyed(self, program: Program, aws):
        with pytest.raises(HalfMadeError):
            self._make_with_broken_step(program)
        key_id = program.resources["k"].id
        assert program.refresh("k") is not None
        assert program.preview(KEY, "k", enableKeyRotation=True) == ["enableKeyRotation"]
        program.destroy("k")
        assert aws("kms").describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] == "PendingDeletion"

    def test_what_reading_cannot_tell_is_done_again_after_a_failure(self, program: Program, use_row):
        attempts = []

        def set_secretly(context):
            attempts.append(context.id)
            if len(attempts) == 1:
                raise AwsError("kms:SetSecretly", "LimitExceededException", "later")

        use_row(replace(row_for(KEY), settings=(Do(set_secretly, on=("deletionWindowInDays",)),)))
        with pytest.raises(HalfMadeError, match="kms:SetSecretly"):
            program.up(KEY, "k", deletionWindowInDays=9)
        program.up(KEY, "k", deletionWindowInDays=9)
        key_id = program.resources["k"].id
        assert attempts == [key_id, key_id]

    def test_a_failed_update_that_changed_nothing_leaves_the_state_as_it_was(self, program: Program):
        queue = program.up(QUEUE, "q")
        before = dict(queue.inputs)
        missing = json.dumps({"deadLetterTargetArn": "arn:aws:sqs:us-east-1:123456789012:none", "maxReceiveCount": 1})
        with pytest.raises(AwsError, match=r"sqs:SetQueueAttributes"):
            program.up(QUEUE, "q", redrivePolicy=missing)
        assert program.resources["q"].inputs == before
        assert not program.resources["q"].half_made

    def test_a_fault_in_a_row_does_not_lose_the_resource(self, program: Program, use_row):
        use_row(replace(row_for(KEY), settings=(Do(_crash, on=("enableKeyRotation",)),)))
        with pytest.raises(HalfMadeError, match="ZeroDivisionError in the row of aws:kms/key:Key"):
            program.up(KEY, "k", enableKeyRotation=True)
        assert program.resources["k"].id


def _crash(context):
    return 1 / 0


class TestReadBack:
    def test_a_property_that_the_account_drops_is_an_error_that_names_it(self, program: Program, use_row):
        row = row_for(QUEUE)
        assert isinstance(row.create, Call)
        forgetful = replace(row, create=replace(row.create, request={"QueueName": "name"}), settings=())
        use_row(forgetful)
        with pytest.raises(HalfMadeError, match=r"did not keep what it was told .* delaySeconds is 0, asked for was 5"):
            program.up(QUEUE, "q", delaySeconds=5)

    def test_a_property_that_the_account_invents_is_an_error_too(self, program: Program, use_row):
        row = row_for(QUEUE)
        use_row(replace(row, computed=tuple(name for name in row.computed if name != "maxMessageSize")))
        with pytest.raises(HalfMadeError, match="maxMessageSize is 1048576, asked for was None"):
            program.up(QUEUE, "q")


class TestDelete:
    def test_a_bucket_with_objects_stays_unless_the_program_lets_it_go(self, program: Program, aws):
        bucket = program.up(BUCKET, "b")
        aws("s3").put_object(Bucket=bucket["bucket"], Key="k", Body=b"x")
        with pytest.raises(AwsError, match="s3:DeleteBucket: BucketNotEmpty"):
            program.destroy("b")
        program.up(BUCKET, "b", forceDestroy=True)
        program.destroy("b")
        assert bucket["bucket"] not in {entry["Name"] for entry in aws("s3").list_buckets()["Buckets"]}

    def test_a_versioned_bucket_is_emptied_of_versions_markers_and_uploads(self, program: Program, aws):
        bucket = program.up(BUCKET, "b", forceDestroy=True)["bucket"]
        s3 = aws("s3")
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        for body in (b"1", b"2"):
            s3.put_object(Bucket=bucket, Key="k", Body=body)
        s3.delete_object(Bucket=bucket, Key="k")
        s3.create_multipart_upload(Bucket=bucket, Key="big")
        program.destroy("b")
        assert bucket not in {entry["Name"] for entry in s3.list_buckets()["Buckets"]}

    def test_a_locked_bucket_is_emptied_of_what_administrators_may_and_of_nothing_else(self, program: Program, aws):
        s3 = aws("s3")
        for mode in ("GOVERNANCE", "COMPLIANCE"):
            name = mode.lower()
            bucket = program.up(BUCKET, name, forceDestroy=True, objectLockEnabled=True)["bucket"]
            rule = {"defaultRetention": {"mode": mode, "days": 1}}
            lock = "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration"
            program.up(lock, f"{name}-lock", bucket=bucket, rule=rule)
            s3.put_object(Bucket=bucket, Key="k", Body=b"1")
            program.destroy(f"{name}-lock")
        program.destroy("governance")
        with pytest.raises(AwsError, match="AccessDenied"):
            program.destroy("compliance")

    def test_a_key_waits_for_its_deletion_as_long_as_the_program_says(self, program: Program, aws):
        key = program.up(KEY, "k", deletionWindowInDays=7)
        program.destroy("k")
        metadata = aws("kms").describe_key(KeyId=key.id)["KeyMetadata"]
        assert metadata["KeyState"] == "PendingDeletion"
        from datetime import UTC, datetime

        assert (metadata["DeletionDate"] - datetime.now(UTC)).days <= 7

    def test_skip_destroy_leaves_the_resource(self, program: Program, aws):
        group = program.up("aws:cloudwatch/logGroup:LogGroup", "l", skipDestroy=True)
        program.destroy("l")
        assert aws("logs").describe_log_groups(logGroupNamePrefix=group["name"])["logGroups"]

    def test_dependent_networks_go_in_order(self, program: Program):
        vpc = program.up("aws:ec2/vpc:Vpc", "v", cidrBlock="10.0.0.0/16")
        program.up("aws:ec2/securityGroup:SecurityGroup", "g", vpcId=vpc.id)
        with pytest.raises(AwsError, match="DependencyViolation"):
            program.destroy("v")
        program.destroy("g")
        program.destroy("v")

    def test_a_role_lets_go_of_policies_when_told_to(self, program: Program, aws):
        role = program.up(ROLE, "r", assumeRolePolicy=TRUST)["name"]
        aws("iam").put_role_policy(RoleName=role, PolicyName="p", PolicyDocument=ALLOW_ALL)
        with pytest.raises(AwsError, match="iam:DeleteRole: DeleteConflict"):
            program.destroy("r")
        program.up(ROLE, "r", assumeRolePolicy=TRUST, forceDetachPolicies=True)
        program.destroy("r")


class TestWhatAwsWouldRefuse:
    def test_access_logs_do_not_go_to_a_bucket_with_a_kms_key(self, program: Program):
        token = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
        rules = [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms"}}]
        source, target = program.up(BUCKET, "source"), program.up(BUCKET, "target")
        program.up(token, "e", bucket=target["bucket"], rules=rules)
        inputs = {"bucket": source["bucket"], "targetBucket": target["bucket"], "targetPrefix": "x/"}
        with pytest.raises(ProviderError, match="SSE-KMS, and S3 delivers access logs only to"):
            program.up("aws:s3/bucketLogging:BucketLogging", "l", **inputs)

    def test_nor_does_a_log_target_get_a_kms_key(self, program: Program):
        source, target = program.up(BUCKET, "source"), program.up(BUCKET, "target")
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "logging.s3.amazonaws.com"},
            "Action": "s3:PutObject",
            "Resource": f"{target['arn']}/*",
        }
        program.up(
            "aws:s3/bucketPolicy:BucketPolicy",
            "p",
            bucket=target["bucket"],
            policy={"Version": "2012-10-17", "Statement": [statement]},
        )
        program.up(
            "aws:s3/bucketLogging:BucketLogging",
            "l",
            bucket=source["bucket"],
            targetBucket=target["bucket"],
            targetPrefix="x/",
        )
        token = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
        rules = [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms"}}]
        with pytest.raises(ProviderError, match="takes the access logs of"):
            program.up(token, "e", bucket=target["bucket"], rules=rules)

    def test_a_log_group_s_key_has_to_let_cloudwatch_logs_in(self, program: Program):
        key = program.up(KEY, "k")
        with pytest.raises(ProviderError, match=r"cannot use the key .* no statement allows logs\.us-east-1"):
            program.up("aws:cloudwatch/logGroup:LogGroup", "l", kmsKeyId=key["arn"])
        assert "l" not in program.resources

    def test_a_public_policy_where_public_policies_are_blocked(self, program: Program):
        bucket = program.up(BUCKET, "b")
        program.up(
            "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
            "p",
            bucket=bucket["bucket"],
            blockPublicPolicy=True,
        )
        public = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"{bucket['arn']}/*"}
        with pytest.raises(ProviderError, match="AccessDenied"):
            program.up(
                "aws:s3/bucketPolicy:BucketPolicy",
                "o",
                bucket=bucket["bucket"],
                policy={"Version": "2012-10-17", "Statement": [public]},
            )

    def test_a_kms_key_goes_with_kms_encryption(self, program: Program):
        token = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
        default = {"sseAlgorithm": "AES256", "kmsMasterKeyId": "k"}
        with pytest.raises(CheckFailedError, match="goes with sseAlgorithm aws:kms"):
            program.up(token, "e", bucket="b", rules=[{"applyServerSideEncryptionByDefault": default}])


def test_an_account_that_does_not_answer(unused_port: int):
    provider = Provider(Configuration("us-east-1"), Account(f"http://127.0.0.1:{unused_port}"))
    checked, _ = provider.check(QUEUE, "q", {}, {})
    with pytest.raises(ProviderError, match="does not answer"):
        provider.create(QUEUE, checked, preview=False)


def test_a_call_s_failures_inside_a_good_answer_are_errors(program: Program):
    vpc = program.up("aws:ec2/vpc:Vpc", "v", cidrBlock="10.0.0.0/16")
    inputs = {"logDestinationType": "s3", "logDestination": "arn:aws:s3:::nowhere", "trafficType": "ALL"}
    with pytest.raises(AwsError, match="LogDestination: nowhere does not exist"):
        program.up("aws:ec2/flowLog:FlowLog", "f", vpcId=vpc.id, **inputs)


def test_many_resources_at_once(provider: Provider, aws):
    """The engine creates in parallel; clients are shared."""
    from concurrent.futures import ThreadPoolExecutor

    def make(number: int) -> str:
        checked, problems = provider.check(QUEUE, f"q{number}", {}, {})
        assert not problems
        return provider.create(QUEUE, checked, preview=False)[0]

    provider = Provider(provider.configuration, Account(provider.account.endpoint))
    with ThreadPoolExecutor(16) as pool:
        urls = list(pool.map(make, range(40)))
    assert len(set(urls)) == 40
