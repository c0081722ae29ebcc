"""The account itself: region, service-linked roles, the people's roles, the trail, and what the caller may do."""

from __future__ import annotations

import re
from collections.abc import Iterator

from botocore.exceptions import ClientError

from trainyard.cli.aws_session import Account, region_is_off
from trainyard.cli.doctor.finding import NO_ANSWER, Finding, Verdict, reason
from trainyard.stacks.settings import Settings

SERVICE_LINKED_ROLES = {
    "autoscaling.amazonaws.com": "AWSServiceRoleForAutoScaling",
    "eks.amazonaws.com": "AWSServiceRoleForAmazonEKS",
    "eks-nodegroup.amazonaws.com": "AWSServiceRoleForAmazonEKSNodegroup",
}
SSO_PATH = "/aws-reserved/sso.amazonaws.com/"
SPOT_ROLE = ("spot.amazonaws.com", "AWSServiceRoleForEC2Spot")
FSX_ROLE = ("fsx.amazonaws.com", "AWSServiceRoleForAmazonFSx")

# One action per service that the program creates in: a caller who lacks one finds out here, not half-way.
NEEDED_ACTIONS = (
    "ec2:CreateVpc",
    "ec2:CreateLaunchTemplate",
    "ec2:CreatePlacementGroup",
    "eks:CreateCluster",
    "eks:CreateNodegroup",
    "eks:CreatePodIdentityAssociation",
    "fsx:CreateFileSystem",
    "iam:CreateRole",
    "iam:PassRole",
    "kms:CreateKey",
    "s3:CreateBucket",
    "sqs:CreateQueue",
    "events:PutRule",
    "logs:CreateLogGroup",
    "ecr:CreateRepository",
    "codebuild:CreateProject",
    "budgets:ModifyBudget",
    "backup:CreateBackupVault",
    "autoscaling:PutScheduledUpdateGroupAction",
)


def region(account: Account, settings: Settings) -> Iterator[Finding]:
    """Regions from 2019 on, the UAE among them, are off until the account opts in."""
    ec2 = account.client("ec2", "us-east-1" if account.partition == "aws" else None)
    try:
        found = ec2.describe_regions(RegionNames=[settings.region], AllRegions=True)["Regions"]
        status = found[0]["OptInStatus"]
    except (*NO_ANSWER, IndexError) as refused:
        yield Finding("region", settings.region, Verdict.UNKNOWN, f"asking gave {reason(refused)}")
        return
    if status in ("opt-in-not-required", "opted-in"):
        yield Finding("region", settings.region, Verdict.FINE, status)
    else:
        yield Finding(
            "region",
            settings.region,
            Verdict.FAILED,
            "the account has not opted in",
            region_is_off(settings.region),
        )


def zones(account: Account, settings: Settings) -> Iterator[Finding]:
    """Zone names are an account's own."""
    found = account.client("ec2").describe_availability_zones()["AvailabilityZones"]
    there = {one["ZoneName"] for one in found if one["State"] == "available"}
    missing = sorted(set(settings.availability_zones) - there)
    if missing:
        yield Finding(
            "zones",
            ", ".join(missing),
            Verdict.FAILED,
            f"no such zone for this account; it has {', '.join(sorted(there))}",
            "correct availability_zones",
        )
    else:
        yield Finding("zones", ", ".join(settings.availability_zones), Verdict.FINE, "available")


def service_linked_roles(account: Account, settings: Settings) -> Iterator[Finding]:
    """The roles as which AWS's own services act; the key policies name one of them, so it has to be there first."""
    wanted = dict(SERVICE_LINKED_ROLES)
    if any(group.capacity == "spot" for group in settings.gpu_groups):
        wanted[SPOT_ROLE[0]] = SPOT_ROLE[1]
    if settings.lustre is not None:
        wanted[FSX_ROLE[0]] = FSX_ROLE[1]
    iam = account.client("iam")
    for service, name in wanted.items():
        try:
            iam.get_role(RoleName=name)
        except ClientError as refused:
            code = reason(refused)
            absent = code == "NoSuchEntity"
            yield Finding(
                "service-linked role",
                name,
                Verdict.FAILED if absent else Verdict.UNKNOWN,
                "does not exist yet" if absent else f"asking gave {code}",
                f"aws iam create-service-linked-role --aws-service-name {service}" if absent else "allow iam:GetRole",
            )
        else:
            yield Finding("service-linked role", name, Verdict.FINE, "exists")


def people(account: Account, settings: Settings) -> Iterator[Finding]:
    """The roles that are to enter the cluster, named by ARN or by permission set. EKS takes an access entry for a role
    that is not there, and nobody can then enter."""
    access = settings.access
    teams = (principal for team in settings.teams for principal in team.people)
    named = sorted({*access.deployers, *access.administrators, *access.viewers, *teams})
    sets = [name for name in named if not name.startswith("arn:")]
    yield from _roles(account, sorted({*named, *access.break_glass_principals} - set(sets)))
    if not sets:
        return
    try:
        pages = account.client("iam").get_paginator("list_roles").paginate(PathPrefix=SSO_PATH)
        there = [role["Arn"] for page in pages for role in page["Roles"]]
    except NO_ANSWER as refused:
        for name in sets:
            yield Finding("access", name, Verdict.UNKNOWN, f"asking gave {reason(refused)}", "allow iam:ListRoles")
        return
    for name in sets:
        own = [arn for arn in there if re.fullmatch(rf"AWSReservedSSO_{re.escape(name)}_[0-9a-f]+", arn.split("/")[-1])]
        if len(own) == 1:
            yield Finding("access", name, Verdict.FINE, f"is {own[0]}")
        else:
            yield Finding(
                "access",
                name,
                Verdict.FAILED,
                f"{len(own)} roles of a permission set of this name in the account",
                "assign the permission set to a group for this account in IAM Identity Center, or name a role's ARN",
            )


def _roles(account: Account, arns: list[str]) -> Iterator[Finding]:
    iam = account.client("iam")
    for arn in arns:
        if arn.split(":")[4] != account.id:
            yield Finding(
                "access",
                arn,
                Verdict.FAILED,
                f"is of another account than {account.id}",
                "name the role of this account",
            )
            continue
        kind, _, path = arn.split(":", 5)[5].partition("/")
        name = path.rpartition("/")[2]
        if kind not in ("role", "user"):
            continue  # the account itself: it is there
        try:
            found = iam.get_role(RoleName=name)["Role"] if kind == "role" else iam.get_user(UserName=name)["User"]
        except NO_ANSWER as refused:
            absent = reason(refused) == "NoSuchEntity"
            yield Finding(
                "access",
                arn,
                Verdict.FAILED if absent else Verdict.UNKNOWN,
                f"no such {kind} in the account" if absent else f"asking gave {reason(refused)}",
                f"aws iam list-{kind}s lists those there are" if absent else f"allow iam:Get{kind.title()}",
            )
            continue
        if found["Arn"] == arn:
            yield Finding("access", arn, Verdict.FINE, "exists")
        else:
            yield Finding(
                "access",
                arn,
                Verdict.FAILED,
                f"the {kind} of this name is {found['Arn']}",
                "name it with its whole path",
            )


def trail(account: Account, settings: Settings) -> Iterator[Finding]:
    """EventBridge sees API calls, the break-glass role's use among them, only where a trail records them."""
    if not settings.access.break_glass_principals:
        return
    try:
        trails = account.client("cloudtrail").describe_trails(includeShadowTrails=True)["trailList"]
    except NO_ANSWER as refused:
        yield Finding("trail", "CloudTrail", Verdict.UNKNOWN, f"asking gave {reason(refused)}")
        return
    recording = [one for one in trails if one.get("IsMultiRegionTrail") or one.get("HomeRegion") == account.region]
    if recording:
        yield Finding("trail", "CloudTrail", Verdict.FINE, f"recorded by {recording[0]['Name']}")
    else:
        yield Finding(
            "trail",
            "CloudTrail",
            Verdict.WARNING,
            f"no trail records {account.region}, so the use of the break-glass role raises no alarm",
            "have a trail with management events (an organization's trail counts)",
        )


def permissions(account: Account, _: Settings) -> Iterator[Finding]:
    """What the caller's policies allow, as IAM's own simulation has it. Conditions and SCPs are beyond it."""
    principal = _simulated_principal(account)
    try:
        answer = account.client("iam").simulate_principal_policy(
            PolicySourceArn=principal, ActionNames=list(NEEDED_ACTIONS)
        )
    except NO_ANSWER as refused:
        yield Finding(
            "permissions",
            principal,
            Verdict.UNKNOWN,
            f"IAM gives no simulation: {reason(refused)}",
            "allow iam:SimulatePrincipalPolicy to know before the first up",
        )
        return
    denied = [one["EvalActionName"] for one in answer["EvaluationResults"] if one["EvalDecision"] != "allowed"]
    if denied:
        yield Finding(
            "permissions",
            principal,
            Verdict.FAILED,
            f"may not {', '.join(denied)}",
            "use the role that `trainyard bootstrap --repository` makes, or attach what is missing",
        )
    else:
        yield Finding("permissions", principal, Verdict.FINE, f"{len(NEEDED_ACTIONS)} sampled actions are allowed")


def _simulated_principal(account: Account) -> str:
    """The role behind an assumed role's session, which is what IAM simulates: with the path that a role of single
    sign-on has, and its session's name leaves out."""
    caller_arn = account.caller_arn
    if ":assumed-role/" not in caller_arn:
        return caller_arn
    head, _, rest = caller_arn.partition(":assumed-role/")
    name = rest.partition("/")[0]
    try:
        return account.client("iam").get_role(RoleName=name)["Role"]["Arn"]
    except NO_ANSWER:
        return f"{head.replace(':sts:', ':iam:')}:role/{name}"
