"""What only the real engine shows: archives on their way to S3, and lookups of what is there."""

from __future__ import annotations

import io
import textwrap
import zipfile
from pathlib import Path
from typing import Any

from trainyard.local import toolchain
from trainyard.local.engine import Engine

PROGRAM = """
import pulumi
import pulumi_aws as aws

bucket = aws.s3.Bucket("sources", force_destroy=True)
source = aws.s3.BucketObjectv2(
    "source", bucket=bucket.id, key="source.zip", source=pulumi.FileArchive("./context")
)
vpc = aws.ec2.Vpc("vpc", cidr_block="10.0.0.0/16")
pulumi.export("bucket", bucket.id)
pulumi.export("etag", source.etag)
pulumi.export("block", aws.ec2.get_vpc_output(id=vpc.id).cidr_block)
"""


def test_an_archive_is_uploaded_once_and_again_when_it_changes(tmp_path: Path, endpoint: str, aws: Any):
    project = tmp_path / "project"
    (project / "context").mkdir(parents=True)
    (project / "context" / "Dockerfile").write_text("FROM scratch")
    (project / "Pulumi.yaml").write_text("name: archives\nruntime: python\n")
    (project / "__main__.py").write_text(textwrap.dedent(PROGRAM))
    config = tmp_path / "Pulumi.test.yaml"
    config.write_text("config:\n  aws:region: me-central-1\n")
    engine = Engine(toolchain.find("pulumi"), project, "test", tmp_path / "home", endpoint, config)
    engine.ensure_stack()
    engine.run("up")
    assert engine.run("preview").changes == {"same": 4}
    (project / "context" / "Dockerfile").write_text("FROM debian")
    result = engine.run("up")
    assert [operation for operation, urn in result.steps if urn.endswith("::source")] == ["update"]
    resources = engine.export()["deployment"]["resources"]
    outputs = next(entry["outputs"] for entry in resources if entry["type"] == "pulumi:pulumi:Stack")
    assert outputs["block"] == "10.0.0.0/16"
    body = aws("s3", "me-central-1").get_object(Bucket=outputs["bucket"], Key="source.zip")["Body"].read()
    assert zipfile.ZipFile(io.BytesIO(body)).read("Dockerfile") == b"FROM debian"
    engine.run("destroy")
