"""`trainyard policies check`: files as people have them, sound and damaged."""

from __future__ import annotations

import copy
import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from trainyard.cli.main import app
from trainyard.cli.policies import document
from trainyard.cli.policies.document import UnreadableFileError, read
from trainyard.policies.evaluation import evaluate_all
from trainyard.policies.in_force import InForce

HEAD = "urn:pulumi:dev::trainyard::"
ROOT = {"urn": f"{HEAD}pulumi:pulumi:Stack::trainyard-dev", "type": "pulumi:pulumi:Stack"}
KEY = "aws:kms/key:Key"
GOOD = {"enableKeyRotation": True, "region": "us-east-1", "tagsAll": {"owner": "a", "data-class": "internal"}}
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
CLOSED = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "v1:x"}
ONE_RULE = [{"environment": "dev", "severity": one, "level": "advisory"} for one in ("low", "high", "critical")]
ONE_RULE.append({"environment": "dev", "rule": "kms-policy-explicit", "level": "advisory"})


def state(inputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    key = {"urn": f"{HEAD}{KEY}::key", "type": KEY, "custom": True, "inputs": inputs, "outputs": inputs, **more}
    return {"version": 3, "deployment": {"resources": [ROOT, key]}}


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


def preview(inputs: dict[str, Any], *steps: dict[str, Any], **counted: int) -> dict[str, Any]:
    key = {"urn": f"{HEAD}{KEY}::key", "op": "create", "newState": {"urn": f"{HEAD}{KEY}::key", "type": KEY}}
    key["newState"]["inputs"] = inputs
    root = {"urn": ROOT["urn"], "op": "create", "newState": ROOT}
    return {"steps": [root, key, *steps], "changeSummary": counted or {"create": 2}}


@pytest.fixture
def said(tmp_path: Path):
    """A function of a file's content, and more arguments, to exit status and what is printed. Of what is against this
    key, only kms-rotation stops."""
    pack = tmp_path / "pack"
    pack.mkdir()
    answered = {"owner": "a", "reason": "Nothing else is looked at in this test."}
    (pack / "levels.yaml").write_text(yaml.safe_dump({"levels": [{**answered, **row} for row in ONE_RULE]}))

    def run(content: Any, *arguments: str) -> tuple[int, str]:
        file = tmp_path / "file.json"
        file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        command = ["policies", "check", str(file), "--pack", str(pack), *arguments]
        done = CliRunner().invoke(app, command)
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.stdout

    return run


def rotation(told: str) -> list[tuple[str, str, str]]:
    findings = json.loads(told)["findings"]
    return [(one["verdict"], one["level"], one["place"]) for one in findings if one["rule"] == "kms-rotation"]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (state({**GOOD, "enableKeyRotation": False}), "exported state"),
        (preview({**GOOD, "enableKeyRotation": False}), "saved preview"),
        (
            {
                "version": 3,
                "checkpoint": {"stack": "dev", "latest": state({**GOOD, "enableKeyRotation": False})["deployment"]},
            },
            "state file",
        ),
    ],
)
def test_each_kind_is_recognised_and_judged_alike(said, content: dict, kind: str) -> None:
    status, told = said(content, "--format", "json")

    report = json.loads(told)
    assert (status, report["exit_status"], report["kind"], report["environment"]) == (1, 1, kind, "dev")
    assert rotation(told) == [("violation", "mandatory", "enableKeyRotation")]


def plan(**after: Any) -> dict[str, Any]:
    """A Terraform plan that makes a key, and something that no rule can read."""
    name = "registry.terraform.io/hashicorp/aws"
    changes = [
        {"address": f"{kind}.key", "mode": "managed", "type": kind, "name": "key", "provider_name": name}
        | {"change": {"actions": ["create"], "before": None, "after": after, "after_unknown": {}}}
        for kind in ("aws_kms_key", "aws_no_such_thing")
    ]
    return {"format_version": "1.2", "planned_values": {}, "resource_changes": changes, "configuration": {}}


def test_a_terraform_plan_is_judged_as_the_environment_that_is_named(said) -> None:
    status, told = said(plan(enable_key_rotation=False), "--environment", "dev", "--format", "json")

    assert (status, json.loads(told)["kind"]) == (1, "Terraform plan")
    assert rotation(told) == [("violation", "mandatory", "enableKeyRotation")]
    (unread,) = (one for one in json.loads(told)["findings"] if one["rule"] == "terraform-kinds-read")
    assert "aws_no_such_thing (1)" in unread["message"]
    with pytest.raises(UnreadableFileError, match="--environment says which it is"):
        said(plan())


def test_what_only_advises_is_told_and_stops_nothing(said) -> None:
    status, told = said(state(GOOD))

    assert status == 0
    assert "kms-policy-explicit [advice]: key: [advisory in dev (a: Nothing else" in told


def test_what_a_preview_cannot_know_cannot_be_verified(said) -> None:
    status, told = said(preview({**GOOD, "enableKeyRotation": UNKNOWN}), "--format", "json")

    assert rotation(told) == [("cannot be verified", "mandatory", "enableKeyRotation")]
    assert status == 3


@pytest.mark.parametrize(("secret", "verdicts"), [("[secret]", ["cannot be verified"]), (True, [])])
def test_a_secret_in_a_preview_is_unknown(said, secret: Any, verdicts: list[str]) -> None:
    _, told = said(preview({**GOOD, "enableKeyRotation": secret}), "--format", "json")

    assert [one for one, _, _ in rotation(told)] == verdicts


def test_a_closed_secret_in_a_state_is_unknown_and_counted(said) -> None:
    _, told = said(state({**GOOD, "enableKeyRotation": CLOSED}), "--format", "json")

    assert rotation(told)[0][0] == "cannot be verified"
    assert "1 secret value is closed" in json.loads(told)["notice"]


def test_another_environment_is_asked_for_by_name(said) -> None:
    _, told = said(state({**GOOD, "enableKeyRotation": False}), "--environment", "prod-uae", "--format", "json")

    found = {one["rule"] for one in json.loads(told)["findings"] if one["level"] == "mandatory"}
    assert "residency-resource-region" in found
    assert json.loads(told)["environment"] == "prod-uae"


def test_what_is_deleted_counts_for_nothing_and_the_last_step_of_a_resource_counts(said) -> None:
    bad = {**GOOD, "enableKeyRotation": False}
    replaced = {"urn": f"{HEAD}{KEY}::key", "op": "replace", "newState": {"type": KEY, "urn": f"{HEAD}{KEY}::key"}}
    replaced["newState"] |= {"inputs": GOOD, "outputs": {**GOOD, "arn": UNKNOWN}}
    gone = {"urn": f"{HEAD}{KEY}::old", "op": "delete-replaced", "oldState": {"type": KEY, "inputs": bad}}

    _, told = said(preview(bad, replaced, gone, replace=1, create=1), "--format", "json")

    assert rotation(told) == []


def test_an_output_that_is_not_known_yet_is_not_taken_for_absent() -> None:
    from trainyard.policies.saved_preview import as_export
    from trainyard.policies.values import UNKNOWN as NOT_YET

    outputs = as_export(preview(GOOD))["deployment"]["resources"][1]["outputs"]

    assert outputs["arn"] is NOT_YET
    assert outputs["enableKeyRotation"] is True
    assert "customKeyStoreId" not in outputs, "nobody asked for it, and AWS chooses none"


def changed(content: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**copy.deepcopy(content), **more}


WHOLE = json.dumps(state(GOOD)).encode()
FAILED = {"severity": "error", "message": "no credentials"}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (WHOLE[: len(WHOLE) // 2], "cut off"),
        (WHOLE + b"\n" + WHOLE, "more than one JSON document"),
        (b"resources:\n  - a\n", "is no JSON"),
        (b"\x89PNG\r\n\x1a\n\x00\xff\xfe", "is no text"),
        (b"[" * 100_000, "nested too deeply"),
        (state({**GOOD, "policy": deep(900)}), "nested too deeply"),
        (b'{"version": 1' + b"0" * 5_000 + b"}", "a number that is too long"),
        ({"version": 3, "deployment": None}, "deployment is no object"),
        ({"version": 3, "deployment": {"resources": {}}}, "no list of resources"),
        (b"[1, 2]", "pulumi stack export"),
        ({"a": 1}, "terraform show -json"),
        (changed(state(GOOD), version=1), "version 1, and 3 and 4 are known"),
        ({"version": 3, "deployment": {"resources": "none"}}, "no list of resources"),
        ({"version": 3, "deployment": {"resources": [{"type": KEY}]}}, "no list of resources"),
        ({"version": 3, "deployment": {"resources": [{"urn": ROOT["urn"]}]}}, "no list of resources"),
        (state(GOOD, provider=7), "damaged"),
        ({"manifest": {}, "resourcePlans": {}}, "pulumi preview --json"),
        ({"version": 4, "terraform_version": "1.9.0", "lineage": "x", "resources": []}, "a plan as JSON"),
        (changed(preview(GOOD), changeSummary={"create": 2, "same": 7}), "--show-sames"),
        (changed(preview(GOOD), diagnostics=[FAILED]), "the preview failed.*no credentials"),
        ({"steps": []}, "did not come to its end"),
        ({"steps": [{"op": "create"}], "changeSummary": {}}, "names no resource"),
    ],
)
def test_another_file_is_refused_with_what_to_give_instead(said, content: Any, why: str) -> None:
    with pytest.raises(UnreadableFileError, match=f"(?s)file.json.*{why}") as refused:
        said(content)

    assert refused.value.exit_status == 2


def test_a_file_that_is_not_there_and_an_environment_that_is_not_are_refused(said, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="No such file"):
        CliRunner().invoke(app, ["policies", "check", str(tmp_path / "no.json")], catch_exceptions=False)
    with pytest.raises(UnreadableFileError, match="there is no environment 'prod'; there are local"):
        said(state(GOOD), "--environment", "prod")


def test_a_device_without_end_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "LARGEST", 1 << 20)

    with pytest.raises(UnreadableFileError, match="/dev/zero has more than 1 MiB"):
        read(Path("/dev/zero"))


def test_a_file_from_powershell_is_read(said) -> None:
    status, _ = said(json.dumps(state({**GOOD, "enableKeyRotation": False})).encode("utf-16"))

    assert status == 1


def test_an_empty_stack_is_clean(said) -> None:
    status, told = said({"version": 3, "deployment": {"manifest": {}}})

    assert (status, "0 resources: nothing stands against it" in told) == (0, True)


def test_text_names_the_kind_and_how_to_mend(said) -> None:
    _, told = said(state({**GOOD, "enableKeyRotation": False}))

    for part in (
        "exported state of dev, 2 resources",
        "kms-rotation",
        "automatic rotation is off",
        "enable_key_rotation",
    ):
        assert part in told


def test_sarif_lies_in_the_file_and_claims_no_baseline(said, tmp_path: Path) -> None:
    _, told = said(state({**GOOD, "enableKeyRotation": False}), "--format", "sarif")

    results = json.loads(told)["runs"][0]["results"]
    (one,) = (result for result in results if result["ruleId"] == "kms-rotation")
    assert one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == (tmp_path / "file.json").as_uri()
    assert one["level"] == "error"
    assert not any("baselineState" in result for result in results)


def test_junit_has_a_failure_for_each_violation(said) -> None:
    _, told = said(state({**GOOD, "enableKeyRotation": False}), "--format", "junit")

    failed = [case.get("name") for case in ET.fromstring(told).iter("testcase") if case.find("failure") is not None]
    assert "kms-rotation: key.enableKeyRotation" in failed
    assert not any("comes up" in name for name in failed)


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just(UNKNOWN),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=8), inner, max_size=2),
    max_leaves=4,
)


def places_in(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The path to every value inside."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inside in items:
        yield (*path, step)
        yield from places_in(inside, (*path, step))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_a_damaged_file_is_judged_or_refused_and_nothing_else(data: st.DataObject, tmp_path: Path) -> None:
    content = copy.deepcopy(data.draw(st.sampled_from([state(GOOD), preview(GOOD), plan(enable_key_rotation=True)])))
    *path, last = data.draw(st.sampled_from(list(places_in(content))))
    holder: Any = content
    for step in path:
        holder = holder[step]
    holder[last] = data.draw(ODD)
    (tmp_path / "odd.json").write_text(json.dumps(content))

    with suppress(UnreadableFileError):
        found = read(tmp_path / "odd.json", "dev")
        results = list(evaluate_all(InForce(), found.inputs, found.outputs))
        assert bool(results) == bool(found.outputs.resources)


def test_a_name_in_the_file_steers_no_terminal_and_forges_no_line(said) -> None:
    told = state({**GOOD, "enableKeyRotation": False})
    told["deployment"]["resources"][1]["urn"] += "\x1b[2K\x1b[1A\u202e\nnothing stands against it"

    status, text = said(told)

    assert status == 1
    assert not {"\x1b", "\u202e"} & set(text)
    assert "key\\u001b[2K\\u001b[1A\\u202e\\nnothing stands against it" in text
