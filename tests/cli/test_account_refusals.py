"""What `doctor` and `bootstrap` make of an account that refuses: one call, every call, or those in one region."""

from __future__ import annotations

import json
import re

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError

from trainyard.cli import main
from trainyard.cli.aws_session import AccountError, RefusedByAwsError, account, told
from trainyard.cli.bootstrap import steps

REGION = "me-central-1"
TAGS = {"environment": "prod-uae", "owner": "platform-team"}
BUCKET = "trainyard-prod-uae-state-123456789012"
READS = re.compile("(Get|List|Describe|Head|Simulate)")


class Refusals:
    """Every call that this process makes to AWS, and which of them are refused."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.codes: dict[str, str] = {}
        """The code with which an operation is refused; `*` for all."""
        self.only_in: str | None = None
        """The region whose calls are refused; None for all."""
        self.each_write_once = False
        self._written: set[str] = set()

    def answer(self, operation: str, region: str) -> None:
        self.calls.append(operation)
        code = self.codes.get(operation) or self.codes.get("*")
        if self.each_write_once and not READS.match(operation) and operation not in self._written:
            self._written.add(operation)
            code = "AccessDenied"
        if code and self.only_in in (None, region):
            raise ClientError({"Error": {"Code": code, "Message": f"not {operation}"}}, operation)


@pytest.fixture
def refusals(in_account, monkeypatch) -> Refusals:
    made = Refusals()
    real = BaseClient._make_api_call

    def call(client, operation, parameters):
        made.answer(operation, client.meta.region_name)
        return real(client, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    return made


@pytest.fixture
def plan(refusals) -> steps.Plan:
    return steps.Plan(account(REGION), "prod-uae", TAGS, "acme/platform")


def _bootstrap(plan: steps.Plan) -> list[steps.Done]:
    with told():
        return steps.run(plan, lambda _: None)


def _run(monkeypatch, capsys, *arguments: str) -> tuple[int, dict, str]:
    """Exit status, JSON and what was said to people of one command line."""
    monkeypatch.setattr("sys.argv", ["trainyard", *arguments, "--json"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert "a bug in" not in said.err
    assert isinstance(ended.value.code, int)
    return ended.value.code, json.loads(said.out), said.err


def test_a_second_bootstrap_writes_nothing(plan, refusals):
    first = _bootstrap(plan)
    assert all(one.made for one in first)
    refusals.calls.clear()
    again = _bootstrap(plan)
    assert [one.id for one in again] == [one.id for one in first]
    assert not any(one.made or one.repaired for one in again)
    assert [call for call in refusals.calls if not READS.match(call)] == []


def test_a_bootstrap_that_is_refused_anywhere_goes_on_from_there(plan, refusals, aws):
    refusals.each_write_once = True
    refused = []
    while len(refused) < 40:
        try:
            done = _bootstrap(plan)
            break
        except RefusedByAwsError as stopped:
            refused.append(str(stopped).partition(":")[0])
    assert {"CreateKey", "CreateAlias", "EnableKeyRotation", "CreateBucket", "PutBucketPolicy"} <= set(refused)
    assert {"CreateOpenIDConnectProvider", "CreateRole", "AttachRolePolicy", "PutRolePolicy"} <= set(refused)
    assert len(refused) == len(set(refused)), "what was made before was not made again"
    kms = aws("kms", REGION)
    assert [one["KeyArn"] for one in kms.list_keys()["Keys"]] == [done[0].id]
    assert kms.get_key_rotation_status(KeyId=done[0].id)["KeyRotationEnabled"]
    assert not any(one.made or one.repaired for one in _bootstrap(plan))


def test_what_others_put_beside_the_states_settings_stays(plan, aws):
    _bootstrap(plan)
    s3 = aws("s3", REGION)
    tags = [*s3.get_bucket_tagging(Bucket=BUCKET)["TagSet"], {"Key": "scanned-by", "Value": "security"}]
    s3.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": tags[1:]})
    policy = json.loads(s3.get_bucket_policy(Bucket=BUCKET)["Policy"])
    (ours,) = policy["Statement"]
    theirs = {**ours, "Sid": "NoStrangers", "Condition": {"StringNotEquals": {"aws:PrincipalOrgID": "o-1"}}}
    weakened = {**ours, "Condition": {**ours["Condition"], "StringLike": {"aws:PrincipalArn": "*/nobody"}}}
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps({**policy, "Statement": [theirs, weakened]}))
    again = {one.what: one.repaired for one in _bootstrap(plan)}
    assert again["bucket of the state"] == ("policy", "tags")
    assert json.loads(s3.get_bucket_policy(Bucket=BUCKET)["Policy"])["Statement"] == [theirs, ours]
    found = {one["Key"]: one["Value"] for one in s3.get_bucket_tagging(Bucket=BUCKET)["TagSet"]}
    assert found == {**TAGS, "scanned-by": "security"}


def test_a_trust_that_was_widened_is_narrowed_again(plan, aws):
    _bootstrap(plan)
    iam, role = aws("iam"), "trainyard-prod-uae-ci-deploy"
    before = iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
    anybody = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    wide = {**before, "Statement": [*before["Statement"], anybody]}
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(wide))
    assert [one.repaired for one in _bootstrap(plan)][-1] == ("trust",)
    assert iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"] == before


@pytest.mark.parametrize(
    ("operation", "code"),
    [("HeadBucket", "403"), ("CreateBucket", "BucketAlreadyExists"), ("HeadBucket", "AccessDenied")],
)
def test_a_bucket_of_another_account_is_told_as_that(plan, refusals, operation, code):
    refusals.codes = {operation: code}
    with pytest.raises(AccountError, match=f"the bucket {BUCKET} is another account's"):
        _bootstrap(plan)


def test_a_bucket_in_another_region_is_not_taken(plan, aws):
    aws("s3", "us-east-1").create_bucket(Bucket=BUCKET)
    with pytest.raises(AccountError, match="stands in us-east-1, and the environment in me-central-1"):
        _bootstrap(plan)


def test_a_key_that_is_to_be_deleted_is_not_taken(plan, aws):
    key = _bootstrap(plan)[0].id
    aws("kms", REGION).schedule_key_deletion(KeyId=key)
    with pytest.raises(AccountError, match=r"is PendingDeletion.*cancel-key-deletion"):
        _bootstrap(plan)


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("ExpiredToken", 2, "log in again"),
        ("ExpiredTokenException", 2, "log in again"),
        ("RequestExpired", 2, "log in again"),
        ("SignatureDoesNotMatch", 2, "is this machine's clock right"),
        ("ThrottlingException", 3, "GetCallerIdentity: ThrottlingException"),
    ],
)
@pytest.mark.parametrize("command", [("doctor", "dev"), ("bootstrap", "dev", "--yes")])
def test_refused_credentials_end_in_a_sentence(refusals, monkeypatch, capsys, command, code, status, said):
    refusals.codes = {"*": code}
    ended, answer, error = _run(monkeypatch, capsys, *command)
    assert ended == status
    assert said in error
    assert said in answer["error"]


def test_credentials_that_expire_while_doctor_looks_are_no_finding(refusals, monkeypatch, capsys):
    refusals.codes = {"GetServiceQuota": "ExpiredTokenException"}
    ended, answer, _ = _run(monkeypatch, capsys, "doctor", "dev")
    assert ended == 2
    assert set(answer) == {"error"}


@pytest.mark.parametrize("command", [("doctor", "prod-uae"), ("bootstrap", "prod-uae", "--yes")])
def test_a_region_that_is_off_is_told_as_that_and_not_as_wrong_credentials(refusals, monkeypatch, capsys, command):
    refusals.codes, refusals.only_in = {"*": "InvalidClientTokenId"}, REGION
    ended, answer, error = _run(monkeypatch, capsys, *command)
    if command[0] == "doctor":
        assert ended == 1
        told_of = [one for one in answer["findings"] if one["verdict"] == "failed"]
        assert {one["check"] for one in told_of} == {"region"}
        assert f"enable-region --region-name {REGION}" in told_of[-1]["remedy"]
    else:
        assert ended == 2
        assert f"aws account enable-region --region-name {REGION}" in error
    assert all(READS.match(call) for call in refusals.calls), "nothing was made"


def test_credentials_that_no_region_takes_are_wrong(refusals, monkeypatch, capsys):
    refusals.codes = {"*": "InvalidClientTokenId"}
    ended, _, error = _run(monkeypatch, capsys, "doctor", "prod-uae")
    assert ended == 2
    assert "log in again" in error


def test_doctor_goes_on_whatever_it_may_not_ask(refusals, monkeypatch, capsys):
    _run(monkeypatch, capsys, "doctor", "local")
    refusals.codes = dict.fromkeys(set(refusals.calls) - {"GetCallerIdentity"}, "AccessDenied")
    ended, answer, error = _run(monkeypatch, capsys, "doctor", "local")
    assert ended == 0
    assert {one["verdict"] for one in answer["findings"]} == {"unknown"}
    assert len(answer["findings"]) >= error.count("==>"), "every check says something"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_MAX_ATTEMPTS", "abc"),
        ("AWS_RETRY_MODE", "bogus"),
        ("AWS_ENDPOINT_URL", "nonsense"),
        ("AWS_PROFILE", "nobody"),
        ("AWS_CONFIG_FILE", __file__),
    ],
)
def test_settings_that_the_sdk_cannot_use_are_the_users_mistake(in_account, monkeypatch, capsys, name, value):
    monkeypatch.setenv(name, value)
    ended, _, error = _run(monkeypatch, capsys, "doctor", "dev")
    assert ended == 2
    assert re.search("cannot be used|no AWS credentials that work", error)
