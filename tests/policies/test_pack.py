"""The pack as Pulumi's engine meets it: its levels, its configuration, its process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
import yaml
from google.protobuf import empty_pb2
from pulumi.runtime import proto
from pulumi.runtime.proto import analyzer_pb2_grpc

from trainyard.policies.cases import stack
from trainyard.policies.graph import Resource
from trainyard.policies.in_force import in_force
from trainyard.policies.registry import RULES, rules_in
from trainyard.policies.rule import Finding, violation
from trainyard.policies.testing import Harness, analyze_request, stack_resource

ROOT = Path(__file__).resolve().parents[2]
PACK = ROOT / "policies"
BUCKET = {"type": "aws:s3/bucket:Bucket", "name": "data", "props": {"bucket": "data", "id": "data"}}


@pytest.fixture
def tls():
    return next(rule for rule in RULES if rule.id == "s3-tls-only")


def test_a_rule_that_fails_is_reported_and_the_others_go_on(tls) -> None:
    def broken(resource: Resource, graph: object) -> Iterator[Finding]:
        yield violation("seen before the fall")
        raise KeyError("no such thing")

    harness = Harness([replace(tls, id="broken", check=broken), tls])

    messages = {one.policy: one for one in harness.analyze(stack([BUCKET], "dev")).diagnostics}
    all_messages = [one.message for one in harness.analyze(stack([BUCKET], "dev")).diagnostics]

    assert messages["s3-tls-only"].level == "mandatory"
    assert any("seen before the fall" in text for text in all_messages)
    assert any("the rule itself failed (KeyError: 'no such thing')" in text for text in all_messages)


def test_what_cannot_be_verified_is_mandatory_unless_configured_as_advice(tls) -> None:
    unknown = {
        "type": "aws:s3/bucketPolicy:BucketPolicy",
        "name": "p",
        "props": {"bucket": "data", "policy": "nonsense"},
    }
    resources = stack([BUCKET, unknown], "dev")

    (strict,) = Harness([tls]).analyze(resources).diagnostics
    (lenient,) = Harness([tls], {tls.id: {"unverified": "advisory"}}).analyze(resources).diagnostics

    assert (strict.level, lenient.level) == ("mandatory", "advisory")
    assert "[cannot be verified]" in strict.message
    assert lenient.urn == strict.urn == resources[0].urn
    assert "not JSON" in lenient.message


def test_what_a_layer_cannot_see_is_advice_because_the_gate_judges_all_layers_together(tls) -> None:
    unknown = {
        "type": "aws:s3/bucketPolicy:BucketPolicy",
        "name": "p",
        "props": {"bucket": "data", "policy": "nonsense"},
    }

    (found,) = Harness([tls]).analyze(stack([BUCKET, unknown], "dev-data")).diagnostics
    (violated,) = Harness([tls]).analyze(stack([BUCKET], "dev-data")).diagnostics

    assert (found.level, violated.level) == ("advisory", "mandatory")


def test_advice_about_the_unverified_does_not_soften_a_violation(tls) -> None:
    resources = stack([BUCKET], "dev")

    (found,) = Harness([tls], {tls.id: {"unverified": "advisory"}}).analyze(resources).diagnostics

    assert found.level == "mandatory"


def test_policies_say_that_they_do_not_apply_rather_than_pass(tls) -> None:
    key = {"type": "aws:kms/key:Key", "name": "key", "props": {"enableKeyRotation": True}}
    rotation = next(rule for rule in RULES if rule.id == "kms-rotation")

    analysis = Harness([tls, rotation]).analyze(stack([key, {"type": "aws:ec2/vpc:Vpc", "name": "vpc"}], "dev"))

    assert analysis.diagnostics == ()
    assert analysis.not_applicable == {"s3-tls-only": 1, "kms-rotation": 1, "exemptions-in-order": 1}


def test_a_finding_tells_why_where_to_read_and_what_to_write(tls) -> None:
    (found,) = Harness([tls]).analyze(stack([BUCKET], "dev")).diagnostics

    assert found.urn.endswith("::data")
    for part in (tls.title, "the bucket has no policy", tls.why, "FSBP S3.5", "CKV_AWS_379", "aws:SecureTransport"):
        assert part in found.message


def test_two_rules_with_one_id_are_refused(tls) -> None:
    module = type(sys)("team_rules")
    module.first, module.second = tls, replace(tls, title="another")

    with pytest.raises(ValueError, match="two rules have the id 's3-tls-only'"):
        rules_in(module)


def test_every_rule_has_what_a_reviewer_needs() -> None:
    for rule in RULES:
        assert rule.title
        assert rule.why.endswith(".")
        assert len(rule.remedy) > 20, rule.id
        assert "NIST 800-53" in rule.controls, rule.id
        assert all(ids for ids in rule.controls.values()), rule.id


def test_file_that_turns_the_unverified_into_advice_names_every_rule() -> None:
    written = json.loads((PACK / "unverified-advisory.json").read_text(encoding="utf-8"))

    assert written == {rule.id: {"unverified": "advisory"} for rule in in_force().rules}


def test_importing_starts_no_pack() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import trainyard.policies.registry, trainyard.policies.pack"],
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_engines_command_serves_every_rule_with_its_metadata() -> None:
    """The process that the language host starts for `--policy-pack policies`."""
    assert yaml.safe_load((PACK / "PulumiPolicy.yaml").read_text(encoding="utf-8"))["runtime"] == "python"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PULUMI_")}
    command = [sys.executable, "-u", "-m", "pulumi.policy", "127.0.0.1:0", str(PACK)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd="/") as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                info = analyzer_pb2_grpc.AnalyzerStub(channel).GetAnalyzerInfo(empty_pb2.Empty(), timeout=30)
        finally:
            process.terminate()

    served = {policy.name: policy for policy in info.policies}
    assert list(served) == [
        "pack-in-order",
        "levels-in-force",
        *(rule.id for rule in in_force().rules),
        "exemptions-in-order",
    ]
    for rule in RULES:
        policy = served[rule.id]
        assert policy.enforcementLevel == (proto.ADVISORY if rule.advice else proto.MANDATORY)
        assert policy.severity == proto.PolicySeverity.Value(f"POLICY_SEVERITY_{rule.severity.name}")
        assert policy.policy_type == proto.PolicyType.Value(f"POLICY_TYPE_{rule.scope.name}")
        assert policy.remediation_steps == rule.remedy
        assert policy.configSchema.properties["unverified"]["default"] == "mandatory"


def test_what_a_provider_was_not_asked_about_is_judged_by_its_inputs() -> None:
    """Kubernetes objects in the first preview: there is no cluster yet, and the engine tells no outputs of them."""
    rule = next(rule for rule in RULES if rule.id == "namespace-pod-security")
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    described = {"type": "kubernetes:core/v1:Namespace", "name": "team", "props": {"metadata": {"labels": labels}}}
    (namespace,) = stack([described], "dev")
    servicer = Harness([rule]).servicer

    def found(asked_before: bool) -> list[str]:
        if asked_before:
            servicer.Analyze(analyze_request(namespace), None)
        request = proto.AnalyzeStackRequest(resources=[stack_resource(replace(namespace, props={}))])
        return [one.message for one in servicer.AnalyzeStack(request, None).diagnostics]

    assert found(asked_before=False), "without its inputs nothing says that it has the label"
    assert found(asked_before=True) == []
