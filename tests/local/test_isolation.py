"""What the user has in the environment leads no process of a rehearsal anywhere else."""

from __future__ import annotations

import os

import boto3
import pytest

from trainyard.local import isolation
from trainyard.local.engine import emulated_aws_environment

FOREIGN = {
    "AWS_PROFILE": "production",
    "AWS_ACCESS_KEY_ID": "AKIAREAL",
    "AWS_ENDPOINT_URL_S3": "https://s3.example",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
    "PULUMI_ACCESS_TOKEN": "pul-real",
    "ETCD_CLIENT_CERT_AUTH": "true",
    "MOTO_ACCOUNT_ID": "999999999999",
    "KUBECONFIG": "/home/somebody/.kube/config",
    "KUBERNETES_SERVICE_HOST": "10.0.0.1",
}


@pytest.fixture
def users_environment(monkeypatch):
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("EDITOR", "ed")
    monkeypatch.setenv("NO_PROXY", "intranet.example")


@pytest.mark.usefixtures("users_environment")
def test_processes_of_the_rehearsal_inherit_nothing_foreign():
    found = isolation.inherited()
    assert {name for name, value in FOREIGN.items() if found.get(name) == value} == set()
    assert found["KUBECONFIG"] == os.devnull
    assert found["EDITOR"] == "ed"
    assert found["NO_PROXY"] == "intranet.example,127.0.0.1,localhost"


@pytest.mark.usefixtures("users_environment")
def test_a_session_inside_leads_to_the_emulated_account_and_afterwards_all_is_as_it_was():
    before = dict(os.environ)
    with isolation.only(emulated_aws_environment("http://127.0.0.1:5", "us-west-2")):
        client = boto3.Session().client("s3")
        assert (client.meta.endpoint_url, client.meta.region_name) == ("http://127.0.0.1:5", "us-west-2")
    assert dict(os.environ) == before


@pytest.mark.usefixtures("users_environment")
def test_an_error_inside_restores_the_environment_too():
    before = dict(os.environ)
    with pytest.raises(ValueError, match="inside"), isolation.only({}):
        raise ValueError("inside")
    assert dict(os.environ) == before
