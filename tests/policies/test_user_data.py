"""What is taken for a secret in user data, and what is not."""

from __future__ import annotations

import base64
import gzip
import time

import pytest

from trainyard.policies.user_data import plain_text, secrets_in

RANDOM = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"

SECRETS = {
    "AWS_ACCESS_KEY_ID=AKIA" + "IOSFODNN7EXAMPLE": "an AWS access key",
    "-----BEGIN OPENSSH PRIVATE KEY-----": "a private key",
    "git clone https://robot:hunter22@git.example.org/repo": "a password in an address",
    "HF_TOKEN=hf_" + "a1B2c3D4e5" * 4: "a Hugging Face token",
    f"export WANDB_API_KEY={RANDOM}": "a value for 'WANDB_API_KEY'",
    f'{{"name": "x", "apiKey": "{RANDOM}"}}': "a value for 'apiKey'",
    "password: changeme": "a value for 'password'",
    "docker login --username robot --password hunter22": "a value for 'password'",
    f"agent --token {RANDOM}": "a value for 'token'",
}
NO_SECRETS = [
    "PasswordAuthentication no",
    "http_tokens=required",
    'TOKEN=$(curl -sX PUT http://169.254.169.254/latest/api/token -H "X-aws-ec2-metadata-token-ttl-seconds: 60")',
    "DB_PASSWORD=${DB_PASSWORD:?}",
    "password = {{ vault.password }}",
    "API_TOKEN=arn:aws:secretsmanager:us-east-1:123456789012:secret:token-AbCdEf",
    "passwd -l root",
    "docker login --username AWS --password-stdin registry",
    f"# token={RANDOM}",
    "certificateAuthority: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tMIIBbzCC",
    "aws secretsmanager get-secret-value --secret-id training/hugging-face-token-2026",
    f"sha256sum --check {RANDOM}",
]


@pytest.mark.parametrize(("text", "kind"), SECRETS.items())
def test_secret_is_found_by_kind_and_line(text: str, kind: str) -> None:
    assert [(one.kind, one.line) for one in secrets_in(f"#!/bin/sh\n{text}\n")] == [(kind, 2)]


@pytest.mark.parametrize("text", NO_SECRETS)
def test_reference_or_setting_is_no_secret(text: str) -> None:
    assert list(secrets_in(text)) == []


@pytest.mark.parametrize(
    "pack", [lambda text: text, base64.b64encode, lambda text: base64.b64encode(gzip.compress(text))]
)
def test_text_is_read_through_base64_and_gzip(pack) -> None:
    assert plain_text(pack(b"#!/bin/sh\necho ready\n").decode()) == "#!/bin/sh\necho ready\n"


def test_gzip_of_zeros_does_not_fill_the_memory() -> None:
    assert len(plain_text(base64.b64encode(gzip.compress(b"0" * 2**24)).decode())) <= 2**20


@pytest.mark.parametrize(
    "line", ["a" * 16384, "password" * 2048, "x-" * 8192 + "secret", "a.b://" * 2730, "eyJ" + "a" * 16384]
)
def test_long_lines_take_no_long_time(line: str) -> None:
    start = time.process_time()

    list(secrets_in(line))

    assert time.process_time() - start < 3
