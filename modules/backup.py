"""A backup vault under the platform's key, and a plan that fills it.

    backup = Backup(
        "platform",
        BackupArgs(key_arn=keys.data.arn, resource_arns=[store.artifacts.arn], retention_days=35),
        pulumi.ResourceOptions(provider=provider),
    )

Backups stay in the vault of their own region and account: the plan copies nowhere, so that data which may not leave its
jurisdiction doesn't leave it by night. What AWS Backup can't take is listed on the module's page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from trainyard.modules.account import Account
from trainyard.modules.policy_document import policy_document

LEAST_COLD_DAYS = 90
"""What is moved to cold storage stays there this long at least. Source: AWS Backup API, Lifecycle, DeleteAfterDays."""

LEAST_CHANGEABLE_DAYS = 3
LONGEST_DAYS = 36_500
"""Sources: AWS Backup API, PutBackupVaultLockConfiguration, ChangeableForDays and MaxRetentionDays."""

MANAGED_POLICIES = (
    "service-role/AWSBackupServiceRolePolicyForBackup",
    "service-role/AWSBackupServiceRolePolicyForRestores",
    "AWSBackupServiceRolePolicyForS3Backup",
    "AWSBackupServiceRolePolicyForS3Restore",
)
"""AWS's own policies for the service: it names dozens of actions that change as services are added."""


@dataclass(frozen=True)
class VaultLock:
    """Nobody shortens the life of a backup in the vault.

    Attributes:
        minimum_retention_days: backups that shall live shorter are refused, and none is deleted earlier.
        maximum_retention_days: backups that shall live longer are refused. None: no bound.
        changeable_for_days: 3 or more; after so many days NOBODY CAN REMOVE THE LOCK, AWS included, and the vault lives
            until its last backup has expired. None: whoever has the permission can remove it.
    """

    minimum_retention_days: int
    maximum_retention_days: int | None = None
    changeable_for_days: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.minimum_retention_days <= LONGEST_DAYS:
            raise ValueError(f"minimum_retention_days is {self.minimum_retention_days}; it may be 1 to {LONGEST_DAYS}")
        if self.maximum_retention_days is not None and self.maximum_retention_days < self.minimum_retention_days:
            raise ValueError(
                f"maximum_retention_days is {self.maximum_retention_days}, "
                f"less than minimum_retention_days, {self.minimum_retention_days}"
            )
        if self.changeable_for_days is not None and self.changeable_for_days < LEAST_CHANGEABLE_DAYS:
            raise ValueError(
                f"changeable_for_days is {self.changeable_for_days}; it may be {LEAST_CHANGEABLE_DAYS} or more"
            )


@dataclass(frozen=True)
class BackupArgs:
    """What is backed up, when, and how long backups live.

    Attributes:
        key_arn: KMS key of the vault.
        resource_arns: what to back up: file systems without links, versioned buckets, volumes.
        schedule: AWS cron expression in UTC.
        retention_days: how long a backup lives.
        cold_storage_after_days: move backups to cold storage then, where AWS can; they must live 90 days more.
        lock: keep backups even from administrators.
        protected: refuse to delete the vault, and keep it and its backups when it leaves the program.
        tags: added to the provider's default tags.
    """

    key_arn: pulumi.Input[str]
    resource_arns: Sequence[pulumi.Input[str]]
    schedule: str = "cron(0 3 * * ? *)"
    retention_days: int = 35
    cold_storage_after_days: int | None = None
    lock: VaultLock | None = None
    protected: bool = True
    tags: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.resource_arns:
            raise ValueError("resource_arns is empty: there is nothing to back up")
        for arn in self.resource_arns:
            if isinstance(arn, str) and (not arn.startswith("arn:") or arn == "arn:*"):
                raise ValueError(f"resource_arns holds {arn!r}; it takes ARNs, such as 'arn:aws:s3:::my-bucket'")
        if not re.fullmatch(r"cron\(\S+( \S+){5}\)", self.schedule):
            raise ValueError(f"schedule is {self.schedule!r}; it is cron(…) with six fields, as in 'cron(0 3 * * ? *)'")
        if not 1 <= self.retention_days <= LONGEST_DAYS:
            raise ValueError(f"retention_days is {self.retention_days}; it may be 1 to {LONGEST_DAYS}")
        if self.cold_storage_after_days is not None:
            latest = self.retention_days - LEAST_COLD_DAYS
            if not 1 <= self.cold_storage_after_days <= latest:
                raise ValueError(
                    f"cold_storage_after_days is {self.cold_storage_after_days}; with retention_days "
                    f"{self.retention_days} it may be 1 to {latest}, for what is cold stays so for 90 days"
                    if latest >= 1
                    else f"cold_storage_after_days needs retention_days of at least {LEAST_COLD_DAYS + 1}; "
                    f"it is {self.retention_days}"
                )
        if self.lock is not None:
            longest = self.lock.maximum_retention_days or LONGEST_DAYS
            if not self.lock.minimum_retention_days <= self.retention_days <= longest:
                raise ValueError(
                    f"retention_days is {self.retention_days}; the vault's lock takes "
                    f"{self.lock.minimum_retention_days} to {longest}"
                )


class Backup(pulumi.ComponentResource):
    """The vault, with or without a lock, the plan with its one rule, what it selects, and the role that does it."""

    vault_arn: pulumi.Output[str]
    vault_name: pulumi.Output[str]
    plan_id: pulumi.Output[str]
    role_arn: pulumi.Output[str]

    def __init__(self, name: str, args: BackupArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trainyard:backup:Backup", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        vault = aws.backup.Vault(
            f"{name}-backups",
            kms_key_arn=args.key_arn,
            force_destroy=not args.protected,
            tags=args.tags,
            opts=pulumi.ResourceOptions(parent=self, protect=args.protected, retain_on_delete=args.protected),
        )
        if args.lock is not None:
            aws.backup.VaultLockConfiguration(
                f"{name}-backups",
                backup_vault_name=vault.name,
                min_retention_days=args.lock.minimum_retention_days,
                max_retention_days=args.lock.maximum_retention_days,
                changeable_for_days=args.lock.changeable_for_days,
                opts=child,
            )
        plan = aws.backup.Plan(
            f"{name}-backups",
            rules=[
                aws.backup.PlanRuleArgs(
                    rule_name="scheduled",
                    target_vault_name=vault.name,
                    schedule=args.schedule,
                    # Minutes: an hour to begin, the least there is, and a week to finish what has hundreds of TiB.
                    start_window=60,
                    completion_window=7 * 24 * 60,
                    lifecycle=aws.backup.PlanRuleLifecycleArgs(
                        delete_after=args.retention_days, cold_storage_after=args.cold_storage_after_days
                    ),
                    recovery_point_tags=args.tags,
                )
            ],
            tags=args.tags,
            opts=child,
        )
        role, permissions = self._service_role(name, args)
        aws.backup.Selection(
            f"{name}-backups",
            plan_id=plan.id,
            iam_role_arn=role.arn,
            resources=list(args.resource_arns),
            opts=pulumi.ResourceOptions(parent=self, depends_on=permissions),
        )
        self.vault_arn = vault.arn
        self.vault_name = vault.name
        self.plan_id = plan.id
        self.role_arn = role.arn
        self.register_outputs(
            {
                "vault_arn": self.vault_arn,
                "vault_name": self.vault_name,
                "plan_id": self.plan_id,
                "role_arn": self.role_arn,
            }
        )

    def _service_role(self, name: str, args: BackupArgs) -> tuple[aws.iam.Role, list[aws.iam.RolePolicyAttachment]]:
        account = Account.of(self)
        child = pulumi.ResourceOptions(parent=self)
        role = aws.iam.Role(
            f"{name}-backups",
            description=f"Lets AWS Backup save and restore what belongs to {name}",
            assume_role_policy=policy_document(
                [
                    {
                        "Effect": "Allow",
                        "Principal": {"Service": "backup.amazonaws.com"},
                        "Action": "sts:AssumeRole",
                        "Condition": {"StringEquals": {"aws:SourceAccount": account.id}},
                    }
                ]
            ),
            tags=args.tags,
            opts=child,
        )
        attachments = [
            aws.iam.RolePolicyAttachment(
                f"{name}-{policy.rpartition('/')[2]}",
                role=role.name,
                policy_arn=pulumi.Output.concat("arn:", account.partition, f":iam::aws:policy/{policy}"),
                opts=child,
            )
            for policy in MANAGED_POLICIES
        ]
        return role, attachments
