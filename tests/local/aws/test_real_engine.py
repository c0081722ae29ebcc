"""The provider under the real Pulumi engine: what only the engine's own handling can show.

The life of resources in the engine is tested in tests/rehearsal.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trainyard.local import toolchain
from trainyard.local.engine import Engine, EngineError

PROVIDER = """
import pulumi
import pulumi_aws as aws

provider = aws.Provider("aws", region="us-east-1", default_tags={"tags": {"team": "ml"}})
options = pulumi.ResourceOptions(provider=provider)
"""


class Project:
    """A Pulumi project whose program a test writes."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        project = folder / "project"
        project.mkdir()
        (project / "Pulumi.yaml").write_text("name: small\nruntime: python\n")
        config = folder / "Pulumi.test.yaml"
        config.write_text("config:\n  aws:region: us-east-1\n")
        self.program = project / "__main__.py"
        self.program.write_text(PROVIDER)
        self.home = folder / "home"
        self.engine = Engine(toolchain.find("pulumi"), project, "test", self.home, endpoint, config)
        self.engine.ensure_stack()

    def run(self, operation: str, body: str) -> Any:
        self.program.write_text(PROVIDER + textwrap.dedent(body))
        return self.engine.run(operation)

    def resource(self, name: str) -> dict[str, Any]:
        resources = self.engine.export()["deployment"]["resources"]
        return next(entry for entry in resources if entry["urn"].endswith(f"::{name}"))


@pytest.fixture
def project(tmp_path: Path, endpoint: str) -> Iterator[Project]:
    made = Project(tmp_path, endpoint)
    yield made
    made.engine.run("destroy")


def test_unknown_values_reach_previews_as_unknown_and_secrets_stay_secret(project: Project):
    body = """
    queue = aws.sqs.Queue("jobs", tags={"token": pulumi.Output.secret("hush")}, opts=options)
    queue.arn.apply(lambda arn: pulumi.log.info(f"its ARN is {arn}"))
    queue.delay_seconds.apply(lambda delay: pulumi.log.info(f"its delay is {delay}"))
    """
    project.run("preview", body)
    said = (project.home / "preview.log").read_text()
    assert "its delay is 0" in said
    assert "its ARN is" not in said
    project.run("up", body)
    assert "its ARN is arn:aws:sqs:us-east-1" in (project.home / "up.log").read_text()
    queue = project.resource("jobs")
    recorded = json.dumps([queue["inputs"], queue["outputs"]])
    assert "hush" not in recorded
    assert "1b47061264138c4ac30d75fd1eb44270" in json.dumps(queue["outputs"]["tagsAll"])
    assert project.engine.run("preview").changes == {"same": 3}
    assert project.engine.run("refresh").changes == {"same": 3}


def test_a_failure_half_way_is_kept_with_its_reason_and_repaired(project: Project, aws):
    body = """
    aws.ec2.SecurityGroup(
        "group",
        ingress=[{{"protocol": "tcp", "from_port": 22, "to_port": 22, "cidr_blocks": ["{cidr}"]}}],
        opts=options,
    )
    """
    with pytest.raises(EngineError, match=r"creating group \(aws:ec2/securityGroup:SecurityGroup\): ec2:Authorize"):
        project.run("up", body.format(cidr="300.0.0.0/8"))
    kept = project.resource("group")
    assert "AuthorizeSecurityGroupIngress" in kept["initErrors"][0]
    result = project.run("up", body.format(cidr="10.0.0.0/8"))
    assert [operation for operation, urn in result.steps if urn.endswith("::group")] == ["update"]
    mended = project.resource("group")
    assert mended["id"] == kept["id"]
    assert "initErrors" not in mended
    (group,) = aws("ec2").describe_security_groups(GroupIds=[kept["id"]])["SecurityGroups"]
    assert group["IpPermissions"][0]["IpRanges"] == [{"CidrIp": "10.0.0.0/8"}]


def test_pulumi_import_takes_a_resource_by_its_id(project: Project, aws):
    url = aws("sqs").create_queue(QueueName="found", Attributes={"DelaySeconds": "9"})["QueueUrl"]
    arguments = ("--protect=false", "--generate-code=false", "aws:sqs/queue:Queue", "found", url)
    project.engine.run("import", *arguments)
    assert project.resource("found")["inputs"]["delaySeconds"] == 9
    body = 'aws.sqs.Queue("found", name="found", delay_seconds=9)'
    steps = project.run("preview", body).steps
    assert not [operation for operation, urn in steps if urn.endswith("::found")]
