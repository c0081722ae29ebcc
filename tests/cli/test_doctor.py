"""`trainyard doctor` in an emulated account: what it tells of one that lacks something, and of one that does not."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime

import pytest
from botocore.stub import Stubber
from typer.testing import CliRunner

from trainyard.cli import environments
from trainyard.cli.aws_session import Account, AccountError, account, told
from trainyard.cli.doctor import capacity, identity, quotas, services
from trainyard.cli.doctor.finding import Finding, Verdict
from trainyard.cli.main import app
from trainyard.local.engine import ACCOUNT_ID
from trainyard.local.paths import ROOT
from trainyard.stacks.settings import Settings

REGION, ZONE = "us-east-2", "us-east-2a"


def _settings(environment: str = "prod-us", *changes: str) -> Settings:
    file = environments.environment_file(environment, ROOT)
    values = environments.with_changes(environments.read_values(file), changes)
    return environments.parse(environment, values, str(file))


@pytest.fixture
def found(in_account) -> Account:
    return account(REGION)


def _told(findings, subject: str) -> Finding:
    (one,) = [one for one in findings if subject in one.subject]
    return one


class _Stubbed(Account):
    """An account one of whose services gives prepared answers."""

    def with_stub(self, service: str, client) -> _Stubbed:
        object.__setattr__(self, "_stubs", {service: client})
        return self

    def client(self, service: str, region: str | None = None):
        return self._stubs.get(service) or super().client(service, region)


@pytest.fixture
def stubbed(found):
    """A function that gives the account with `service` stubbed, and the stub."""

    def make(service: str) -> tuple[_Stubbed, Stubber]:
        client = found.client(service)
        stub = Stubber(client)
        stub.activate()
        whole = _Stubbed(**{field.name: getattr(found, field.name) for field in dataclasses.fields(found)})
        return whole.with_stub(service, client), stub

    return make


def test_a_quota_that_is_too_small_fails_with_the_command_that_asks_for_more(found):
    settings = _settings("dev")
    wanted = 4 * 2
    here = dataclasses.replace(found, region="us-east-1")
    told_of = _told(quotas.check(here, settings), "All G and VT Spot")
    assert told_of.verdict is Verdict.FAILED
    assert told_of.remedy == (
        "aws service-quotas request-service-quota-increase --region us-east-1 "
        f"--service-code ec2 --quota-code L-3819A6DF --desired-value {wanted}"
    )


@pytest.mark.parametrize(("value", "verdict"), [(31.0, Verdict.FAILED), (32.0, Verdict.FINE)])
def test_a_raised_quota_is_fine(stubbed, value, verdict):
    settings = _settings("dev", "gpu_groups[0].maximum_nodes=8")
    whole, stub = stubbed("service-quotas")
    for quota in quotas.needs(settings):
        answer = {"Quota": {"Value": value if quota.code == "L-3819A6DF" else 1e6}}
        stub.add_response("get_service_quota", answer, {"ServiceCode": quota.service, "QuotaCode": quota.code})
    findings = list(quotas.check(whole, settings))
    assert _told(findings, "G and VT Spot").verdict is verdict
    assert {one.verdict for one in findings if "G and VT Spot" not in one.subject} == {Verdict.FINE}


def test_a_quota_that_may_not_be_asked_for_is_unknown(stubbed):
    whole, stub = stubbed("service-quotas")
    settings = _settings("dev")
    for _ in quotas.needs(settings):
        stub.add_client_error("get_service_quota", "AccessDeniedException")
    findings = list(quotas.check(whole, settings))
    assert {one.verdict for one in findings} == {Verdict.UNKNOWN}
    assert "AccessDeniedException" in findings[0].said


def test_everything_the_environment_grows_to_counts_against_its_quota():
    wanted = {quota.name: amount for quota, amount in quotas.needs(_settings("prod-us")).items()}
    assert "Running On-Demand P instances" not in wanted, "a Capacity Block does not count"
    assert wanted["Lustre Persistent_2 storage capacity"] == 19200
    assert wanted["Network interfaces per Region"] == 16 * 32
    assert wanted["Clusters"] == wanted["VPCs per Region"] == 1
    assert {quota.name for quota in quotas.needs(_settings("dev"))} >= {"EC2-VPC Elastic IPs"}


@pytest.mark.parametrize(
    ("kind", "capacity_type", "code"),
    [
        ("p4d.24xlarge", "on-demand", "L-417A185B"),
        ("p5.48xlarge", "spot", "L-C4BD4855"),
        ("p4d.24xlarge", "spot", "L-7212CCBC"),
        ("g6.xlarge", "on-demand", "L-DB2E81BA"),
        ("m7i.large", "on-demand", "L-1216C47A"),
        ("c7i.large", "spot", "L-34B43A08"),
    ],
)
def test_vcpus_count_against_the_quota_of_their_family(kind, capacity_type, code):
    quota = quotas.vcpu_quota(kind, capacity_type)
    assert quota is not None
    assert quota.code == code


def test_a_type_that_a_zone_lacks_fails_and_names_zones_that_have_it(found):
    findings = list(capacity.offerings(dataclasses.replace(found, region="us-west-2"), _settings("research")))
    assert {one.verdict for one in findings} <= {Verdict.FINE, Verdict.FAILED}
    missing = _told(capacity.offerings(found, _settings("prod-uae")), "p5en.48xlarge")
    assert missing.verdict is Verdict.FAILED
    assert "not offered in me-central-1a" in missing.said
    assert "offered in us-east-2" in missing.said


def test_the_table_of_efa_interfaces_agrees_with_ec2(found):
    findings = list(capacity.efa(found, _settings("prod-us")))
    assert [(one.subject, one.verdict) for one in findings] == [("p5.48xlarge", Verdict.FINE)]


def _block(aws, **changes) -> str:
    asked = {
        "InstanceType": "p5.48xlarge",
        "InstancePlatform": "Linux/UNIX",
        "AvailabilityZone": ZONE,
        "InstanceCount": 16,
        "EndDateType": "limited",
        "EndDate": datetime(2031, 1, 29, 11, 30, tzinfo=UTC),
        "TagSpecifications": [
            {
                "ResourceType": "capacity-reservation",
                "Tags": [{"Key": "trainyard:emulated-capacity-block", "Value": "true"}],
            }
        ],
        **changes,
    }
    made = aws("ec2", REGION).create_capacity_reservation(**asked)
    return made["CapacityReservation"]["CapacityReservationId"]


def _of_block(found, identity_: str) -> Finding:
    settings = _settings("prod-us", f"gpu_groups[0].reservation_id={identity_}")
    (one,) = capacity.reservations(found, settings)
    return one


def test_a_capacity_block_that_fits_is_fine(found, aws):
    assert _of_block(found, _block(aws)).verdict is Verdict.FINE


def test_a_capacity_block_that_is_not_there_fails(found):
    (one,) = capacity.reservations(found, _settings("prod-us"))
    assert one.verdict is Verdict.FAILED
    assert "no such reservation" in one.said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"InstanceType": "p4d.24xlarge"}, "it is for p4d.24xlarge, the group for p5.48xlarge"),
        ({"InstanceCount": 4}, "it holds 4 instances, the group grows to 16"),
        ({"EndDate": datetime(2031, 1, 20, tzinfo=UTC)}, "it ends at 2031-01-20 00:00 UTC"),
        ({"TagSpecifications": []}, "of the kind default, the group's capacity is capacity-block"),
    ],
)
def test_a_capacity_block_that_differs_from_its_group_fails(found, aws, changes, said):
    one = _of_block(found, _block(aws, **changes))
    assert one.verdict is Verdict.FAILED
    assert said in one.said


def test_a_reservation_that_may_not_be_looked_at_is_unknown(stubbed):
    whole, stub = stubbed("ec2")
    stub.add_client_error("describe_capacity_reservations", "UnauthorizedOperation")
    (one,) = capacity.reservations(whole, _settings("prod-us"))
    assert one.verdict is Verdict.UNKNOWN


def test_service_linked_roles_are_missing_until_they_are_made(found, aws):
    settings = _settings("local")
    before = list(identity.service_linked_roles(found, settings))
    assert {one.verdict for one in before} == {Verdict.FAILED}
    assert {one.subject for one in before} >= {"AWSServiceRoleForEC2Spot", "AWSServiceRoleForAmazonFSx"}
    for one in before:
        service = one.remedy.removeprefix("aws iam create-service-linked-role --aws-service-name ")
        aws("iam").create_service_linked_role(AWSServiceName=service)
    assert {one.verdict for one in identity.service_linked_roles(found, settings)} == {Verdict.FINE}


def _role(aws, name: str, path: str = "/") -> str:
    trust = {"Version": "2012-10-17", "Statement": []}
    made = aws("iam").create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=json.dumps(trust))
    return made["Role"]["Arn"]


def test_a_permission_set_is_known_by_the_role_that_single_sign_on_made_of_it(found, aws):
    settings = _settings("dev")
    before = {one.subject: one.verdict for one in identity.people(found, settings)}
    assert before == {"PlatformAdministrator": Verdict.FAILED, "Auditor": Verdict.FAILED}
    path = "/aws-reserved/sso.amazonaws.com/eu-central-1/"
    _role(aws, "AWSReservedSSO_PlatformAdministrator_0123456789abcdef", path)
    _role(aws, "AWSReservedSSO_AuditorOfBooks_0123456789abcdef", path)
    after = {one.subject: one.verdict for one in identity.people(found, settings)}
    assert after == {"PlatformAdministrator": Verdict.FINE, "Auditor": Verdict.FAILED}


def test_roles_named_by_arn_are_looked_up_with_their_path(found, aws):
    settings = _settings("local")
    assert {one.verdict for one in identity.people(found, settings)} == {Verdict.FAILED}
    _role(aws, "platform-admin")
    _role(aws, "auditor", "/people/")
    after = {one.subject.rpartition("/")[2]: one for one in identity.people(found, settings)}
    assert after["platform-admin"].verdict is Verdict.FINE
    assert after["break-glass-1"].verdict is Verdict.FAILED
    assert f"arn:aws:iam::{ACCOUNT_ID}:role/people/auditor" in after["auditor"].said


def test_a_role_of_another_account_cannot_enter(found):
    settings = _settings("local", 'access.viewers=["arn:aws:iam::210987654321:role/auditor"]')
    assert "another account" in _told(identity.people(found, settings), "210987654321").said


def test_without_a_trail_break_glass_is_not_alarmed(found, aws):
    settings = _settings("prod-us")
    (before,) = identity.trail(found, settings)
    assert before.verdict is Verdict.WARNING
    aws("s3").create_bucket(Bucket="trail-of-the-organization")
    aws("cloudtrail").create_trail(Name="all", S3BucketName="trail-of-the-organization", IsMultiRegionTrail=True)
    (after,) = identity.trail(found, settings)
    assert after.verdict is Verdict.FINE


def test_a_simulation_that_iam_does_not_give_is_unknown(found):
    (one,) = identity.permissions(found, _settings("prod-us"))
    assert one.verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(("denied", "verdict"), [((), Verdict.FINE), (("eks:CreateCluster",), Verdict.FAILED)])
def test_permissions_are_those_that_iam_simulates(stubbed, denied, verdict):
    whole, stub = stubbed("iam")
    caller = f"arn:aws:sts::{ACCOUNT_ID}:assumed-role/deploy/session"
    whole = dataclasses.replace(whole, caller_arn=caller).with_stub("iam", whole.client("iam"))
    results = [
        {"EvalActionName": action, "EvalDecision": "implicitDeny" if action in denied else "allowed"}
        for action in identity.NEEDED_ACTIONS
    ]
    expected = {
        "PolicySourceArn": f"arn:aws:iam::{ACCOUNT_ID}:role/deploy",
        "ActionNames": list(identity.NEEDED_ACTIONS),
    }
    stub.add_response("simulate_principal_policy", {"EvaluationResults": results}, expected)
    (one,) = identity.permissions(whole, _settings("prod-us"))
    assert one.verdict is verdict
    assert all(action in one.said for action in denied)


def test_a_build_that_eks_does_not_offer_is_told_with_those_it_offers(stubbed):
    offered = dict(services.ADDON_VERSIONS["1.35"], coredns="v9.9.9-eksbuild.9")
    told_by_eks = [
        {"addonName": name, "addonVersions": [{"addonVersion": build}, {"addonVersion": "v0.0.1-eksbuild.1"}]}
        for name, build in offered.items()
    ]
    whole, stub = stubbed("eks")
    stub.add_response("describe_addon_versions", {"addons": told_by_eks}, {"kubernetesVersion": "1.35"})
    told = {one.subject: one for one in services.addons(whole, _settings("prod-us"))}
    wrong = told.pop("coredns")
    assert {one.verdict for one in told.values()} == {Verdict.FINE}
    assert wrong.verdict is Verdict.FAILED
    assert "is not offered for Kubernetes 1.35; v9.9.9-eksbuild.9, v0.0.1-eksbuild.1 are" in wrong.said


def test_an_endpoint_service_that_the_region_or_a_zone_lacks_is_told(stubbed):
    names = [f"com.amazonaws.{REGION}.{service}" for service in ("ecr.api", "ecr.dkr", "sts")]
    settings = _settings("prod-us")
    zones = list(settings.availability_zones)
    there = [
        {"ServiceName": names[0], "AvailabilityZones": zones, "VpcEndpointPolicySupported": True},
        {"ServiceName": names[1], "AvailabilityZones": zones[:1], "VpcEndpointPolicySupported": True},
        {"ServiceName": names[2], "AvailabilityZones": zones, "VpcEndpointPolicySupported": False},
    ]
    whole, stub = stubbed("ec2")
    filters = [{"Name": "service-type", "Values": ["Interface"]}]
    stub.add_response("describe_vpc_endpoint_services", {"ServiceDetails": there}, {"Filters": filters})
    told = {one.subject: one for one in services.endpoints(whole, settings)}
    assert told["ecr.api"].verdict is Verdict.FINE
    assert f"not in {zones[1]}, {zones[2]}" in told["ecr.dkr"].said
    assert "takes no policy" in told["sts"].said
    assert "has no endpoint service" in told["kms"].said


def test_another_account_than_the_environments_is_refused(in_account):
    with pytest.raises(AccountError, match="account_id is 210987654321: choose another profile"):
        account(REGION, "210987654321")


def test_json_tells_every_finding_and_nothing_else(in_account):
    result = CliRunner().invoke(app, ["doctor", "prod-us", "--json"])
    assert result.exit_code == 1
    said = json.loads(result.stdout)
    assert (said["account"], said["region"], said["environment"]) == (ACCOUNT_ID, REGION, "prod-us")
    checks = {one["check"] for one in said["findings"]}
    assert {"region", "zones", "offering", "EFA", "reservation", "quota", "access", "permissions"} <= checks
    assert {"service-linked role", "trail", "add-on", "endpoint"} <= checks


def test_a_denied_call_is_told_and_the_other_checks_go_on(in_account, monkeypatch):
    def denied(found, _):
        found.client("ec2").describe_vpcs(VpcIds=["vpc-00000000"])
        yield

    monkeypatch.setattr(identity, "zones", denied)
    result = CliRunner().invoke(app, ["doctor", "dev", "--json"])
    one = next(one for one in json.loads(result.stdout)["findings"] if one["check"] == "zones")
    assert one["verdict"] == "unknown"
    assert "DescribeVpcs" in one["said"]
    assert any(one["check"] == "quota" for one in json.loads(result.stdout)["findings"])


def test_without_credentials_or_network_there_is_a_sentence(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(AccountError, match="no AWS credentials that work") as none:
        account(REGION)
    assert none.value.exit_status == 2
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(AccountError, match="AWS cannot be reached"), told():
        account(REGION)
