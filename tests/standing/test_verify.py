"""`make verify-aws` where there is nothing to verify, and the promise that it changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def _verify(environment: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    own |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": str(tmp_path / "none")}
    own["AWS_SHARED_CREDENTIALS_FILE"] = str(tmp_path / "none")
    script = Path(__file__).with_name("verify.py")
    return subprocess.run(
        [sys.executable, str(script), environment], env=own, capture_output=True, text=True, check=False
    )


def test_without_an_account_it_says_so_and_what_it_would_have_done(tmp_path):
    done = _verify("dev", tmp_path)
    assert done.returncode == 2
    assert "there is no account to verify dev in" in done.stderr
    assert "would read, and change nothing" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_environment_that_is_not_there_is_named_with_those_that_are(tmp_path):
    done = _verify("prod", tmp_path)
    assert done.returncode == 2
    assert "prod-us" in done.stderr


def test_no_call_but_a_read_is_sent(client, outputs):
    with pytest.raises(AssertionError, match="PutBucketVersioning is no read"):
        client("s3").put_bucket_versioning(
            Bucket=outputs["datasets_bucket"], VersioningConfiguration={"Status": "Suspended"}
        )
    assert client("s3").get_bucket_versioning(Bucket=outputs["datasets_bucket"])["Status"] == "Enabled"
