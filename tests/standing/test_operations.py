"""What watches over the platform as it stands: who may use its keys, alarms and their recipients, backups, copies of
others' images."""

from __future__ import annotations

import json

import pytest

from trainyard.modules.third_party_images import images_for


@pytest.fixture
def account(client) -> str:
    return client("sts").get_caller_identity()["Account"]


KEYS = ("data_key_arn", "messages_key_arn", "logs_key_arn", "compute_key_arn", "secrets_key_arn")


@pytest.fixture
def allowed(client, outputs):
    """What the policy of a key allows, statement by statement."""

    def statements(key: str) -> list[dict]:
        policy = client("kms").get_key_policy(KeyId=outputs[key], PolicyName="default")["Policy"]
        return [one for one in json.loads(policy)["Statement"] if one["Effect"] == "Allow"]

    return statements


def _services(statement: dict) -> list[str]:
    principal = statement["Principal"]
    named = principal.get("Service", []) if isinstance(principal, dict) else []
    return [named] if isinstance(named, str) else named


def test_instances_can_be_launched_with_disks_under_the_platforms_key(allowed):
    (grant,) = [one for one in allowed("compute_key_arn") if one["Action"] == "kms:CreateGrant"]
    roles = {one.rpartition("/")[2] for one in grant["Condition"]["ArnEquals"]["aws:PrincipalArn"]}
    assert roles == {"AWSServiceRoleForAutoScaling", "AWSServiceRoleForEC2Spot"}


def test_events_reach_the_encrypted_queue(allowed, account):
    sending = [
        one
        for one in allowed("messages_key_arn")
        if _services(one) == ["events.amazonaws.com"]
        and one["Condition"].get("StringEquals", {}).get("aws:SourceAccount") == account
    ]
    assert sorted(sending[0]["Action"]) == ["kms:Decrypt", "kms:GenerateDataKey"]


def test_log_groups_can_be_encrypted(allowed, settings):
    services = [service for one in allowed("logs_key_arn") for service in _services(one)]
    assert any(service.startswith("logs.") and settings.region in service for service in services), services


@pytest.mark.parametrize("key", KEYS)
def test_nobody_outside_the_account_may_use_a_key(allowed, account, key):
    for statement in allowed(key):
        principal = statement["Principal"]
        if principal in ("*", {"AWS": "*"}):
            assert statement["Condition"]["StringEquals"]["kms:CallerAccount"] == account, statement["Sid"]
        elif not _services(statement):
            named = principal["AWS"]
            assert all(account in one for one in ([named] if isinstance(named, str) else named)), statement["Sid"]
        else:
            assert account in json.dumps(statement["Condition"]), statement["Sid"]


def _topics(client, name: str) -> list[str]:
    pages = client("sns").get_paginator("list_topics").paginate()
    return [
        topic["TopicArn"]
        for page in pages
        for topic in page["Topics"]
        if topic["TopicArn"].split(":")[5].startswith(name)
    ]


def _recipients(client, topic: str) -> set[str]:
    pages = client("sns").get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic)
    return {one["Endpoint"] for page in pages for one in page["Subscriptions"] if one["Protocol"] == "email"}


def test_costs_are_told_to_who_was_named_and_by_those_who_may(client, settings, account):
    (topic,) = _topics(client, f"{settings.name}-cost")
    assert _recipients(client, topic) == set(settings.budget.notify)
    attributes = client("sns").get_topic_attributes(TopicArn=topic)["Attributes"]
    assert attributes["KmsMasterKeyId"]
    (publishing,) = [
        one for one in json.loads(attributes["Policy"])["Statement"] if one.get("Sid") == "BudgetsAndAlarmsMayPublish"
    ]
    assert set(publishing["Principal"]["Service"]) == {"budgets.amazonaws.com", "cloudwatch.amazonaws.com"}
    assert publishing["Condition"]["StringEquals"]["aws:SourceAccount"] == account


def test_every_gpu_group_has_an_alarm_for_idle_nodes(client, settings, outputs):
    pages = client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{settings.name}-idle-")
    watched = {
        dimension["Value"]: alarm["AlarmActions"]
        for page in pages
        for alarm in page["MetricAlarms"]
        for dimension in alarm["Dimensions"]
    }
    assert set(watched) == set(outputs["gpu_auto_scaling_groups"].values())
    assert all(watched.values())


def test_taking_the_emergency_role_is_told(client, settings):
    if not settings.access.break_glass_principals:
        pytest.skip("the environment has no emergency role")
    (topic,) = _topics(client, f"{settings.name}-break-glass")
    assert _recipients(client, topic) == set(settings.budget.notify)
    events = client("events")
    rules = events.list_rules(NamePrefix=f"{settings.name}-break-glass")["Rules"]
    assert [one["State"] for one in rules] == ["ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"]
    assert [one["Arn"] for one in events.list_targets_by_rule(Rule=rules[0]["Name"])["Targets"]] == [topic]


def test_the_emergency_role_wants_a_second_factor(client, settings):
    if not settings.access.break_glass_principals:
        pytest.skip("the environment has no emergency role")
    pages = client("iam").get_paginator("list_roles").paginate()
    (role,) = [
        one for page in pages for one in page["Roles"] if one["RoleName"].startswith(f"{settings.name}-break-glass")
    ]
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    named = statement["Principal"]["AWS"]
    assert sorted([named] if isinstance(named, str) else named) == sorted(settings.access.break_glass_principals)
    assert statement["Condition"]["Bool"] == {"aws:MultiFactorAuthPresent": "true"}


def test_backups_are_made_when_and_as_long_as_the_settings_say(client, settings, outputs):
    if settings.backups is None:
        pytest.skip("the environment has no backups")
    backup = client("backup")
    pages = backup.get_paginator("list_backup_plans").paginate()
    (plan,) = [
        one
        for page in pages
        for one in page["BackupPlansList"]
        if one["BackupPlanName"].startswith(f"{settings.name}-backups")
    ]
    (rule,) = backup.get_backup_plan(BackupPlanId=plan["BackupPlanId"])["BackupPlan"]["Rules"]
    assert rule["ScheduleExpression"] == settings.backups.schedule
    assert rule["Lifecycle"]["DeleteAfterDays"] == settings.backups.retention_days
    vault = backup.describe_backup_vault(BackupVaultName=rule["TargetBackupVaultName"])
    assert vault["EncryptionKeyArn"] == outputs["data_key_arn"]
    (chosen,) = backup.list_backup_selections(BackupPlanId=plan["BackupPlanId"])["BackupSelectionsList"]
    selection = backup.get_backup_selection(BackupPlanId=plan["BackupPlanId"], SelectionId=chosen["SelectionId"])
    assert outputs["artifacts_bucket_arn"] in selection["BackupSelection"]["Resources"]


def test_every_third_party_image_has_a_place_in_the_mirror(client, settings, outputs):
    if not settings.images.mirror:
        pytest.skip("the environment takes others' images from their publishers")
    images = images_for(settings.kubernetes.version)
    assert set(outputs["third_party_images"]) == {image.name for image in images}
    pages = client("ecr").get_paginator("describe_repositories").paginate()
    held = {one["repositoryUri"] for page in pages for one in page["repositories"]}
    for image in images:
        place, _, tag = outputs["third_party_images"][image.name].rpartition(":")
        assert place in held, image.name
        assert tag == image.tag, image.name
    projects = [
        name
        for page in client("codebuild").get_paginator("list_projects").paginate()
        for name in page["projects"]
        if name.startswith(f"{settings.name}-image-mirror")
    ]
    assert len(projects) == 1
