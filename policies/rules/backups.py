"""Backups: who can read them, who can delete them, how long they live."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.policies.aws import OWN_KEY_CLASSES, own_key, tags_of
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.iam import documents
from trainyard.policies.preflight import number
from trainyard.policies.rule import Finding, Severity, each, resource_rule, stack_rule, unverified, violation
from trainyard.policies.values import Value, shown

_VAULTS = frozenset({"aws:backup/vault:Vault"})
_LOCKS = frozenset({"aws:backup/vaultLockConfiguration:VaultLockConfiguration"})
_SELECTIONS = frozenset({"aws:backup/selection:Selection"})
_POLICIES = frozenset({"aws:backup/vaultPolicy:VaultPolicy"})
# Classes whose records a law tells to keep: nobody may be able to delete them early.
_KEPT_CLASSES = frozenset({"health", "financial", "government"})
_DELETIONS = ("backup:DeleteRecoveryPoint", "backup:UpdateRecoveryPointLifecycle")
_LEAST_COLD_DAYS = 90

_BACKUP = {"NIST 800-53": ("CP-9", "SI-12"), "ISO 27001": ("A.8.13", "A.5.33")}


@resource_rule(
    "backup-vault-names-key",
    title="A backup vault names its key",
    severity=Severity.HIGH,
    applies=_VAULTS,
    controls={
        "FSBP": ("Backup.1",),
        "Checkov": ("CKV_AWS_166",),
        "NIST 800-53": ("SC-28", "CP-9(8)"),
        "ISO 27001": ("A.8.24", "A.8.13"),
    },
    why="Where none is named AWS takes its own, which no other account can be let use to restore.",
    remedy="""
aws.backup.Vault(name, kms_key_arn=key.arn)
""",
)
def vault_names_key(vault: Resource) -> Iterator[Finding]:
    key = vault["kmsKeyArn"]
    if key.raw == "" or not key.present:
        yield violation("no key is named, so AWS takes its own", key)
    elif key.known:
        key.text()


@stack_rule(
    "backup-vault-own-key",
    title="The key that a backup vault names is the team's own",
    severity=Severity.HIGH,
    applies=_VAULTS,
    controls={
        "FSBP": ("Backup.1",),
        "Checkov": ("CKV_AWS_166",),
        "NIST 800-53": ("SC-28", "CP-9(8)"),
        "ISO 27001": ("A.8.24", "A.8.13"),
    },
    why="A vault holds a copy of all that matters. Who may use its key may restore it somewhere else.",
    remedy="""
aws.backup.Vault(name, kms_key_arn=key.arn)
""",
)
def vault_key(vault: Resource, graph: Graph) -> Iterator[Finding]:
    key = vault["kmsKeyArn"]
    if key.raw not in (None, ""):  # else it is another rule's finding
        yield from own_key(key, vault, graph)


@stack_rule(
    "backup-vault-locked",
    title="Nobody can delete backups of health, financial or government data before their time",
    severity=Severity.HIGH,
    applies=_VAULTS,
    controls={
        "AWS Config": ("backup-recovery-point-manual-deletion-disabled",),
        "NIST 800-53": ("CP-9", "AU-9", "SI-12"),
        "ISO 27001": ("A.8.13", "A.5.33"),
    },
    why="Who extorts or covers up deletes the backups first, with the permissions of an administrator.",
    remedy="""
aws.backup.VaultLockConfiguration(name, backup_vault_name=vault.name, min_retention_days=35)
""",
)
def vault_locked(vault: Resource, graph: Graph) -> Iterator[Finding]:
    data_class = tags_of(vault)["data-class"].text()
    if data_class not in _KEPT_CLASSES:
        return
    locks = graph.attached(vault, _LOCKS, "backupVaultName")
    guards = graph.attached(vault, _POLICIES, "backupVaultName")
    if any(lock["minRetentionDays"].present and number(lock["minRetentionDays"]) for lock in locks.certain):
        return
    if any(_refuses_deletion(policy["policy"]) for policy in guards.certain):
        return
    if doubtful := [*locks.possible, *guards.possible]:
        yield unverified(f"whether {doubtful[0].name} guards this vault is not known yet")
    else:
        yield violation(f"{data_class} data needs a lock with a least retention, or a policy that refuses deletion")


def _refuses_deletion(policy: Value) -> bool:
    """Whether everyone is refused both ways to end a backup early: deleting it and shortening its life."""
    for statement in documents.statements(policy):
        if statement.effect != "Deny" or documents.ANYONE not in statement.principals or statement.conditions:
            continue
        patterns = [action.lower() for action in statement.actions]
        if all(any(documents.covers(one, action.lower()) for one in patterns) for action in _DELETIONS):
            return True
    return False


@resource_rule(
    "backup-plan-lifecycle",
    title="Every rule of a backup plan says when its backups end",
    severity=Severity.MEDIUM,
    applies={"aws:backup/plan:Plan"},
    controls={"AWS Config": ("backup-plan-min-frequency-and-min-retention-check",), **_BACKUP},
    why="Without an end backups are kept, paid for and liable to be disclosed for ever, personal data among them.",
    remedy="""
rules=[{"rule_name": "daily", "schedule": "cron(0 3 * * ? *)", "lifecycle": {"delete_after": 35}, ...}]
""",
)
def plan_lifecycle(plan: Resource) -> Iterator[Finding]:
    rules = plan["rules"].items()
    if not rules:
        yield violation("the plan has no rules", plan["rules"])
    yield from each(rules, _ends)
    yield from each([copy for rule in rules if rule.known for copy in rule["copyActions"].items()], _ends)


def _ends(rule: Value) -> Iterator[Finding]:
    lifecycle = rule["lifecycle"]
    after = number(lifecycle["deleteAfter"])
    cold = number(lifecycle["coldStorageAfter"])
    if not after:
        yield violation("its backups are never deleted", lifecycle)
    elif cold and after < cold + _LEAST_COLD_DAYS:
        yield violation(
            f"deleted after {shown(after)} days, but cold storage from day {cold} keeps {_LEAST_COLD_DAYS}", lifecycle
        )


@resource_rule(
    "backup-vault-kept",
    title="A vault with backups of personal data, or more, is not deleted with all that is in it",
    severity=Severity.HIGH,
    applies=_VAULTS,
    controls=_BACKUP,
    why="With force_destroy one wrong destroy, or a replacement of the vault, deletes every backup first.",
    remedy="""
aws.backup.Vault(name, force_destroy=False, ...)
""",
)
def vault_kept(vault: Resource) -> Iterator[Finding]:
    switch = vault["forceDestroy"]
    if switch.flag() and tags_of(vault)["data-class"].text() in OWN_KEY_CLASSES:
        yield violation("force_destroy is on: the vault goes with its backups", switch)


@stack_rule(
    "backup-plan-takes-something",
    title="A backup plan has a selection, and the selection selects",
    severity=Severity.MEDIUM,
    applies={"aws:backup/plan:Plan"},
    controls=_BACKUP,
    why="A plan with nothing in it runs every night and reports no failure; that it is empty shows when it is needed.",
    remedy="""
aws.backup.Selection(name, plan_id=plan.id, iam_role_arn=role.arn, resources=[bucket.arn])
""",
)
def plan_takes_something(plan: Resource, graph: Graph) -> Iterator[Finding]:
    found = graph.attached(plan, _SELECTIONS, "planId")
    if not found.certain and found.possible:
        yield unverified(f"whether {found.possible[0].name} belongs to this plan is not known yet")
    elif not found.certain:
        yield violation("no selection names what the plan takes")
    for selection in found.certain:
        if not any(_given(selection, name) for name in ("resources", "selectionTags", "conditions")):
            yield violation(f"{selection.name} selects nothing")


def _given(selection: Resource, name: str) -> bool:
    value = selection[name]
    if value.known:
        return bool(value.items())
    return name in selection.property_dependencies  # what it comes from exists by then
