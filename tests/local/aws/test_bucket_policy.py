"""A bucket's policy refuses what its conditions say, and nothing else."""

from __future__ import annotations

import json

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from trainyard.local.aws import moto_adapter

KEY = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"


@pytest.fixture(scope="module")
def s3():
    moto_adapter.install()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    server.stop()


def _bucket(s3, name, *statements):
    s3.create_bucket(Bucket=name)
    arn = f"arn:aws:s3:::{name}"
    policy = {"Version": "2012-10-17", "Statement": [{"Principal": "*", **one} for one in statements]}
    text = json.dumps(policy).replace("BUCKET", arn)
    s3.put_bucket_policy(Bucket=name, Policy=text)
    return name


def test_a_deny_without_tls_lets_a_request_over_tls_through(s3):
    bucket = _bucket(
        s3,
        "tls-only",
        {
            "Effect": "Deny",
            "Action": "s3:*",
            "Resource": ["BUCKET", "BUCKET/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
    )
    s3.put_object(Bucket=bucket, Key="a", Body=b"text")
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"text"
    s3.delete_object(Bucket=bucket, Key="a")


def test_another_key_than_the_platforms_is_refused_and_its_own_is_not(s3):
    header = "s3:x-amz-server-side-encryption-aws-kms-key-id"
    bucket = _bucket(
        s3,
        "own-key",
        {
            "Effect": "Deny",
            "Action": "s3:PutObject",
            "Resource": "BUCKET/*",
            "Condition": {"Null": {header: "false"}, "StringNotEquals": {header: KEY}},
        },
    )
    s3.put_object(Bucket=bucket, Key="default", Body=b"")
    s3.put_object(Bucket=bucket, Key="own", Body=b"", ServerSideEncryption="aws:kms", SSEKMSKeyId=KEY)
    with pytest.raises(ClientError, match="403"):
        s3.put_object(Bucket=bucket, Key="other", Body=b"", ServerSideEncryption="aws:kms", SSEKMSKeyId=f"{KEY}0")
    assert [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["default", "own"]


def test_a_deny_of_reading_holds_for_head_too_and_not_for_other_keys(s3):
    bucket = _bucket(s3, "closed", {"Effect": "Deny", "Action": "s3:GetObject", "Resource": "BUCKET/secret/*"})
    for key in ("secret/a", "open/a"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    for read in (s3.get_object, s3.head_object):
        read(Bucket=bucket, Key="open/a")
        with pytest.raises(ClientError, match="403"):
            read(Bucket=bucket, Key="secret/a")


def test_a_condition_that_is_not_evaluated_is_refused_rather_than_guessed(s3):
    bucket = _bucket(
        s3,
        "unknown-operator",
        {
            "Effect": "Deny",
            "Action": "s3:PutObject",
            "Resource": "BUCKET/*",
            "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}},
        },
    )
    with pytest.raises(ClientError, match="403"):
        s3.put_object(Bucket=bucket, Key="a", Body=b"")
