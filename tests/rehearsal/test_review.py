"""Two revisions of a program compared: the real engine, both brought up in one emulated account."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainyard.cli import environments
from trainyard.cli.review.model import Review, Standing, environment_of
from trainyard.local import foreign_state, revision
from trainyard.local.changes import Operation
from trainyard.local.engine import ACCOUNT_ID
from trainyard.local.paths import ROOT
from trainyard.local.review import Source, compare, compare_with_state

PROJECT = f"name: trainyard\nmain: program\nruntime: {{name: python, options: {{virtualenv: {sys.prefix}}}}}\n"
PROGRAM = """
import json

import pulumi_aws as aws

from trainyard import names

TRUST = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}

provider = aws.Provider("aws", region="us-east-1")
"""
BEFORE = """
key = aws.kms.Key("key", enable_key_rotation=True, opts=names.OPTIONS(provider))
aws.iam.Role("role", name="training", assume_role_policy=json.dumps(TRUST), opts=names.OPTIONS(provider))
aws.cloudwatch.LogGroup("logs", name=names.LOGS, opts=names.OPTIONS(provider))
"""
ALIASED = """
import pulumi
aws.cloudwatch.LogGroup("called", name="/one", opts=pulumi.ResourceOptions(provider=provider{aliases}))
"""
RETAINED = """
import pulumi
aws.sns.Topic("kept", opts=pulumi.ResourceOptions(provider=provider, retain_on_delete=True))
"""
NAMES = "import pulumi\nLOGS = {logs!r}\ndef OPTIONS(provider):\n    return pulumi.ResourceOptions(provider=provider)\n"


@pytest.fixture
def revisions(tmp_path: Path) -> Callable[..., tuple[Source, Source]]:
    """A repository whose program was BEFORE, in its first commit, and is something else in its working tree."""

    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", str(tmp_path / "head"), *identity, *arguments], check=True, capture_output=True)

    def write(body: str, logs: str) -> None:
        (tmp_path / "head" / "program" / "__main__.py").write_text(PROGRAM + body)
        (tmp_path / "head" / "trainyard" / "names.py").write_text(NAMES.format(logs=logs))

    def make(after: str, logs: str, before: str = BEFORE) -> tuple[Source, Source]:
        for folder in ("program", "trainyard"):
            (tmp_path / "head" / folder).mkdir(parents=True)
        (tmp_path / "head" / "Pulumi.yaml").write_text(PROJECT)
        (tmp_path / "head" / "trainyard" / "__init__.py").write_text("")
        write(before, "/first")
        git("init", "--quiet")
        git("add", "--all")
        git("commit", "--quiet", "--message", "first")
        write(after, logs)
        revision.lay_out(tmp_path / "head", "HEAD", tmp_path / "base")
        file = environments.environment_file("dev", ROOT)
        _, settings = environments.read("dev", file)
        return tuple(Source(label, tmp_path / label, {}, settings) for label in ("base", "head"))  # ty: ignore

    return make


def test_changes_losses_and_findings_of_a_change(revisions: Callable[..., tuple[Source, Source]]) -> None:
    renamed = ALIASED.replace('"called"', '"renamed"').format(aliases=', aliases=[pulumi.Alias(name="called")]')
    after = BEFORE.replace("enable_key_rotation=True", "enable_key_rotation=False") + renamed
    base, head = revisions(after, "/second", BEFORE + RETAINED + ALIASED.format(aliases=""))

    told = environment_of(compare("dev", base, head))
    changes = {one.change.name: one.change for one in told.changes}

    assert {name: one.operation for name, one in changes.items()} == {
        "key": Operation.UPDATE,
        "logs": Operation.REPLACE,
        "kept": Operation.DELETE,
    }
    assert [name for name, one in changes.items() if one.kept] == ["kept"]  # it goes from the stack alone
    (renamed,) = changes["logs"].properties
    assert (renamed.path, renamed.before, renamed.after, renamed.replaces) == ("name", "/first", "/second", True)
    assert [(one.change.name, one.consequence.loses) for one in told.lost if one.consequence] == [
        ("logs", True),
        ("kept", False),
    ]
    assert [(one.rule, one.name) for one in told.of(Standing.NEW) if one.rule.startswith("kms")] == [
        ("kms-rotation", "key")
    ]
    # What is called otherwise is the same resource: what is wrong with it was so before, and nothing of it is mended.
    about_it = {one.standing for one in told.findings if one.name in ("called", "renamed")}
    assert about_it == {Standing.STANDING}
    assert told.exit_status == 1
    assert ">changed<" in told.picture


def test_what_cannot_be_applied_on_top_is_told_and_judged_alone(
    revisions: Callable[[str, str], tuple[Source, Source]],
) -> None:
    """Another logical name for a role of the same name: the new one is made before the old one goes."""
    base, head = revisions(BEFORE.replace('"role"', '"renamed"'), "/first")

    told = environment_of(compare("dev", base, head))

    assert {(one.change.name, one.change.operation) for one in told.changes} == {
        ("renamed", Operation.CREATE),
        ("role", Operation.DELETE),
    }
    assert "EntityAlreadyExists" in told.apply_error
    assert told.resources_after == told.resources_before
    assert told.exit_status != 0


def test_what_mends_a_revision_that_does_not_come_up_is_judged_alone(
    revisions: Callable[..., tuple[Source, Source]],
) -> None:
    base, head = revisions(BEFORE, "/first", "raise RuntimeError('it was broken')")

    told = environment_of(compare("dev", base, head))

    assert "it was broken" in told.apply_error
    assert "judged alone" in told.apply_error
    assert (told.resources_before, told.resources_after, told.changes) == (0, 3, ())
    assert {one.standing for one in told.findings} == {Standing.NEW}
    assert told.exit_status in (1, 3)


def test_an_environment_that_is_new_and_then_one_that_stands_elsewhere(
    revisions: Callable[[str, str], tuple[Source, Source]],
) -> None:
    """The state of the first is what the second is compared with: in an account where nothing of it stands."""
    base, head = revisions(BEFORE, "/second")

    new = compare("dev", None, base)
    told = environment_of(new)
    assert {one.change.operation for one in told.changes} == {Operation.CREATE}
    assert (told.resources_before, told.resources_after) == (0, 3)
    assert all(one.standing is Standing.NEW for one in told.findings)

    elsewhere = copy.deepcopy(new.head.export)
    add_what_only_production_has(elsewhere["deployment"]["resources"])
    theirs = json.dumps(elsewhere).replace(ACCOUNT_ID, "210987654321")
    told = environment_of(compare_with_state("dev", foreign_state.read(theirs, "trainyard", "dev"), "state.json", head))
    assert told.apply_error == ""
    assert [(one.change.name, one.change.operation) for one in told.changes] == [
        ("logs", Operation.REPLACE),
        *((name, Operation.DELETE) for name in ("odd", "sealed")),
    ]
    assert told.of(Standing.NEW) == []
    assert "swordfish" not in json.dumps(Review("state.json", "working tree", (told,)).as_json(), default=str)


def add_what_only_production_has(resources: list[dict[str, Any]]) -> None:
    """Secrets, closed and open, of the stack's own key; an older provider; a kind that is not emulated."""
    secret = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}
    stack = resources[0]["urn"]
    before = stack.partition("::")[0] + "::trainyard::"
    (aws,) = (one for one in resources if one["type"] == "pulumi:providers:aws")
    for side in ("inputs", "outputs"):
        aws[side]["version"] = "6.1.0"

    def add(type_: str, name: str, **outputs: Any) -> None:
        resources.append(
            {
                "urn": f"{before}{type_}::{name}",
                "type": type_,
                "custom": True,
                "id": f"{name}-1",
                "parent": stack,
                "provider": f"{aws['urn']}::{aws['id']}",
                "inputs": {},
                "outputs": outputs,
            }
        )

    add("aws:fake/thing:Thing", "odd", password={**secret, "ciphertext": "v1:a:b"})
    opened = {**secret, "plaintext": json.dumps("swordfish")}
    add("aws:secretsmanager/secretVersion:SecretVersion", "sealed", secretString=opened)
