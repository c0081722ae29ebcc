"""What the gate makes of a run: which status, which level counts, what is shown of a resource."""

from __future__ import annotations

import pytest

from trainyard.cli import environments
from trainyard.local import gate
from trainyard.local.gate import PolicyFinding, Report, Status, _findings, _status, planned_resources
from trainyard.local.paths import ROOT
from trainyard.local.rehearsal import Rehearsal
from trainyard.local.service import ServiceError

VIOLATION = PolicyFinding("tags-owner", "mandatory", "urn", "no owner tag")
UNVERIFIED = PolicyFinding("tags-owner", "mandatory", "urn", "[cannot be verified] tags: not known yet")
ADVICE = PolicyFinding("tags-owner", "advisory", "urn", "consider it")


@pytest.mark.parametrize(
    ("findings", "error", "status", "exit_status"),
    [
        ([], "", Status.CLEAN, 0),
        ([ADVICE], "", Status.CLEAN, 0),
        ([VIOLATION], "", Status.VIOLATIONS, 1),
        ([VIOLATION, UNVERIFIED], "", Status.VIOLATIONS, 1),
        ([VIOLATION], "engine failed", Status.VIOLATIONS, 1),
        ([UNVERIFIED], "", Status.UNVERIFIED, 3),
        ([], "engine failed", Status.FAILED, 3),
        ([ADVICE], "engine failed", Status.FAILED, 3),
    ],
)
def test_the_status_follows_from_findings_and_failure(findings, error, status, exit_status):
    assert _status(findings, error) is status
    assert status.exit_status == exit_status


def test_bad_settings_end_with_2():
    assert Status.BAD_SETTINGS.exit_status == 2


def test_the_level_that_counts_is_the_one_the_pack_declares():
    """While the gate runs every policy only advises, so the level in the engine's event says nothing."""
    said = [{"policy": "tags-owner", "level": "advisory", "urn": "u", "message": "m"}]
    assert [one.level for one in _findings(said)] == ["mandatory"]


def test_a_resource_is_shown_without_secrets_and_without_the_engines_own_keys():
    export = {
        "deployment": {
            "resources": [
                {"urn": "urn:pulumi:s::p::pulumi:pulumi:Stack::p-s", "type": "pulumi:pulumi:Stack"},
                {
                    "urn": "urn:pulumi:s::p::aws:s3/bucket:Bucket::data",
                    "type": "aws:s3/bucket:Bucket",
                    "parent": "urn:pulumi:s::p::pulumi:pulumi:Stack::p-s",
                    "inputs": {
                        "__defaults": [],
                        "bucket": "data",
                        "keys": [{"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}],
                    },
                },
                {"urn": "urn:old", "type": "aws:s3/bucket:Bucket", "delete": True},
            ]
        }
    }
    stack, bucket = planned_resources(export)
    assert (stack.parent, stack.inputs) == (None, {})
    assert (bucket.name, bucket.type, bucket.parent) == ("data", "aws:s3/bucket:Bucket", stack.urn)
    assert bucket.inputs == {"bucket": "data", "keys": ["[secret]"]}


def test_its_account_is_thrown_away_so_no_state_is_saved_at_each_step(monkeypatch):
    values, settings = environments.read("local", ROOT / "stacks" / "environments" / "Pulumi.local.yaml")
    begun = []

    class NotStarted(Rehearsal):
        def __enter__(self):
            begun.append(self)
            raise ServiceError("not needed here")

    monkeypatch.setattr(gate, "Rehearsal", NotStarted)
    assert gate.judge("local", values, settings).status is Status.FAILED
    assert [one.throw_away for one in begun] == [True]


def test_the_report_has_the_documented_keys():
    report = Report("dev", "us-east-1", Status.VIOLATIONS, policies=(VIOLATION,)).as_json()
    assert list(report) == ["environment", "region", "status", "resources", "policies"]
    assert report["policies"] == [
        {"policy": "tags-owner", "level": "mandatory", "urn": "urn", "message": "no owner tag"}
    ]
