"""The tables that compliance owns: what they say, and that a broken one stops instead of allowing."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainyard.policies import accounts, retention, tables
from trainyard.policies.cases import stack
from trainyard.policies.graph import Graph
from trainyard.policies.iam import paths as iam_paths
from trainyard.policies.in_force import BrokenPackError, in_force
from trainyard.policies.rule import Verdict, judge
from trainyard.policies.rules import regions, sharing

STRANGER = "999988887777"
ORGANIZATION = "o-abcdefghij"
POLICY = f"""{{"Statement": [
  {{"Effect": "Allow", "Principal": {{"AWS": "{STRANGER}"}}, "Action": "s3:GetObject", "Resource": "*"}},
  {{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*",
    "Condition": {{"StringEquals": {{"aws:PrincipalOrgID": "{ORGANIZATION}"}}}}}}]}}"""


def _table(folder: Path, text: str) -> Path:
    path = folder / "table.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_named_accounts_and_organizations_may_be_let_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket, policy = stack(
        [
            {"type": "aws:sqs/queue:Queue", "name": "own", "props": {"arn": "arn:aws:sqs:us-east-1:111122223333:q"}},
            {"type": "aws:s3/bucketPolicy:BucketPolicy", "name": "policy", "props": {"policy": POLICY}},
        ],
        "dev",
    )
    graph = Graph([bucket, policy])
    strange = judge(sharing.known_accounts, policy, graph)
    row = "{owner: A, purpose: b}"
    table = f'accounts: {{"{STRANGER}": {row}}}\norganizations: {{{ORGANIZATION}: {row}}}'
    monkeypatch.setattr(sharing, "trusted", lambda: accounts.load(_table(tmp_path, table)))
    named = judge(sharing.known_accounts, policy, graph)

    assert [(one.verdict, STRANGER in one.message or ORGANIZATION in one.message) for one in strange.findings] == [
        (Verdict.VIOLATION, True),
        (Verdict.VIOLATION, True),
    ]
    assert named.verdict is Verdict.PASSED


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("accounts: {}", "accounts and organizations"),
        ("accounts: {111122223333: {owner: A, purpose: b}}\norganizations: {}", "in quotes"),
        ('accounts: {"111122223333": {owner: A}}\norganizations: {}', "owner and a purpose"),
        ("accounts: {}\norganizations: {our-company: {owner: A, purpose: b}}", "no id of the form"),
    ],
)
def test_broken_table_of_accounts_is_refused(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=says):
        accounts.load(_table(tmp_path, text))


def test_environment_without_a_row_keeps_everything_for_the_default() -> None:
    assert retention.retention_of("prod-elsewhere") == retention.Retention(key_deletion=30, logs=365)
    assert retention.retention_of("local").key_deletion == 7


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("environments: {}", "default and environments"),
        ("default: {logs: 365}\nenvironments: {}", "key_deletion and logs"),
        ("default: {logs: 365, key_deletion: 0}\nenvironments: {}", "above 0"),
        ("default: {logs: true, key_deletion: 7}\nenvironments: {}", "whole numbers"),
    ],
)
def test_broken_table_of_retention_is_refused(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=says):
        retention.load(_table(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("escalation: []", "escalation and exfiltration"),
        ('escalation: [{grants: ["iam:PassRole"]}]\nexfiltration: []', "grants and how"),
        ("escalation: [{grants: [], how: x}]\nexfiltration: []", "actions such as"),
        ("escalation: [{grants: [PassRole], how: x}]\nexfiltration: []", "actions such as"),
    ],
)
def test_broken_table_of_ways_is_refused(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=says):
        iam_paths.load(_table(tmp_path, text))


def test_conditions_that_bound_a_way_are_written_as_they_are_compared() -> None:
    ways = (*iam_paths.escalations(), *iam_paths.exfiltrations())

    assert all(key == key.lower() for way in ways for key in way.unless)
    assert all(way.grants[0] == "iam:PassRole" for way in ways if way.passes)
    assert len({way.grants for way in ways}) == len(ways)


def test_a_table_with_a_mistake_stops_the_pack_and_names_its_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "regions.yaml"
    broken.write_text("environments: {prod-us: [narnia]}\nglobal_services: []\nregional_exceptions: []\n")
    monkeypatch.setattr(regions, "table", lambda: regions.load_table(broken))
    monkeypatch.setitem(tables._TABLES, "regions.yaml", regions.table)
    monkeypatch.setitem(tables._TABLES, "retention.yaml", lambda: {}["default"])
    (tmp_path / "levels.yaml").write_text("levels: []\n")

    found = in_force(tmp_path)

    with pytest.raises(BrokenPackError) as refused:
        found.require_order()
    first, second = str(refused.value).splitlines()
    assert "regions.yaml: environments.prod-us must be a list of regions" in first
    assert "retention.yaml: KeyError: 'default'" in second
