"""The plugin as a process, spoken to as the engine speaks: the contract with Pulumi's protocol."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from pulumi.runtime import proto, rpc
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc, status_pb2
from waiting import WAIT_SECONDS, wait_until

from trainyard.local.aws.sdk import sdk_version
from trainyard.local.aws.values import UNKNOWN
from trainyard.local.aws.wire import from_struct, half_made_status, secret_properties, to_struct
from trainyard.local.process import is_running

URN = "urn:pulumi:test::project::trainyard:m:Module$aws:sqs/queue:Queue::jobs"


class TestWire:
    def test_values_go_there_and_back(self):
        properties = {
            "a": "text",
            "b": 3,
            "c": 1.5,
            "d": True,
            "e": [1, {"f": "g"}],
            "h": {},
            "i": UNKNOWN,
            "j": [UNKNOWN],
        }
        assert from_struct(to_struct(properties)) == properties

    def test_nothing_is_left_out_at_the_top_and_whole_numbers_stay_whole(self):
        assert from_struct(to_struct({"a": None, "b": 2.0})) == {"b": 2}

    def test_every_kind_of_unknown_is_unknown(self):
        struct = to_struct({"a": rpc.UNKNOWN, "b": rpc.UNKNOWN[:-1] + "0"})
        assert from_struct(struct) == {"a": UNKNOWN, "b": UNKNOWN}

    def test_secrets_outputs_and_resources_are_unwrapped(self):
        key = rpc._special_sig_key
        struct = to_struct(
            {
                "secret": {key: rpc._special_secret_sig, "value": {"password": "x"}},
                "output": {key: rpc._special_output_value_sig, "value": "y", "secret": True},
                "unknown": {key: rpc._special_output_value_sig},
                "resource": {key: rpc._special_resource_sig, "urn": "u", "id": "i"},
            }
        )
        assert from_struct(struct) == {"secret": {"password": "x"}, "output": "y", "unknown": UNKNOWN, "resource": "i"}

    def test_what_has_a_secret_in_it_is_secret_and_tags_are_together(self):
        key = rpc._special_sig_key
        hush = {key: rpc._special_secret_sig, "value": "hush"}
        assert secret_properties(to_struct({"a": hush, "b": [{"c": hush}], "d": "e"})) == {"a", "b"}
        assert secret_properties(to_struct({"tags": {"a": hush}})) == {"tags", "tagsAll"}
        marked = to_struct({"a": "x", "b": 1}, secret=frozenset({"a"}))
        assert secret_properties(marked) == {"a"}
        assert from_struct(marked) == {"a": "x", "b": 1}

    def test_a_half_made_resource_in_the_engine_s_own_form(self):
        message, ((key, value),) = half_made_status("i", {"a": 1}, {"b": 2}, ["one", "two"])
        assert (message, key) == ("one; two", "grpc-status-details-bin")
        status = status_pb2.Status.FromString(value)
        details = provider_pb2.ErrorResourceInitFailed()
        assert status.details[0].Unpack(details)
        assert (details.id, list(details.reasons)) == ("i", ["one", "two"])
        assert from_struct(details.properties) == {"a": 1}


@pytest.fixture(scope="module")
def process(endpoint: str) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "AWS_ENDPOINT_URL": endpoint}
    started = subprocess.Popen(
        [sys.executable, "-m", "trainyard.local.aws.plugin", "127.0.0.1:1"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield started
    started.kill()
    started.wait()


@pytest.fixture(scope="module")
def stub(process: subprocess.Popen[str]):
    assert process.stdout is not None
    port = int(process.stdout.readline())
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    stub = provider_pb2_grpc.ResourceProviderStub(channel)
    arguments = to_struct({"region": "us-east-1", "defaultTags": '{"tags":{"team":"ml"}}'})
    stub.Configure(proto.ConfigureRequest(args=arguments))
    yield stub
    channel.close()


def checked(stub, inputs, urn=URN, **more):
    return stub.Check(proto.CheckRequest(urn=urn, news=to_struct(inputs), randomSeed=b"1", **more))


def test_handshake_and_version(stub):
    assert stub.GetPluginInfo(Empty()).version == sdk_version()
    answer = stub.Handshake(proto.ProviderHandshakeRequest(engine_address="x"))
    assert answer.supports_autonaming_configuration
    assert answer.accept_secrets


def test_a_resource_s_life(stub):
    inputs = checked(stub, {"delaySeconds": 5}).inputs
    assert from_struct(inputs)["tagsAll"] == {"team": "ml"}
    preview = stub.Create(proto.CreateRequest(urn=URN, properties=inputs, preview=True))
    assert preview.id == ""
    assert preview.properties.fields["url"].string_value == rpc.UNKNOWN
    made = stub.Create(proto.CreateRequest(urn=URN, properties=inputs))
    same = stub.Diff(proto.DiffRequest(urn=URN, id=made.id, olds=made.properties, old_inputs=inputs, news=inputs))
    assert same.changes == proto.DiffResponse.DIFF_NONE
    news = checked(stub, {"delaySeconds": 6, "fifoQueue": True}, olds=inputs).inputs
    found = stub.Diff(proto.DiffRequest(urn=URN, id=made.id, olds=made.properties, old_inputs=inputs, news=news))
    assert found.changes == proto.DiffResponse.DIFF_SOME
    assert list(found.replaces) == ["fifoQueue"]
    assert found.detailedDiff["delaySeconds"].kind == proto.PropertyDiff.UPDATE
    assert found.detailedDiff["fifoQueue"].kind == proto.PropertyDiff.UPDATE_REPLACE
    assert not found.deleteBeforeReplace
    news = checked(stub, {"delaySeconds": 6}, olds=inputs).inputs
    updated = stub.Update(proto.UpdateRequest(urn=URN, id=made.id, olds=made.properties, old_inputs=inputs, news=news))
    assert from_struct(updated.properties)["delaySeconds"] == 6
    read = stub.Read(proto.ReadRequest(urn=URN, id=made.id, properties=updated.properties, inputs=news))
    assert from_struct(read.inputs) == from_struct(news)
    stub.Delete(proto.DeleteRequest(urn=URN, id=made.id, properties=updated.properties, old_inputs=news))
    assert stub.Read(proto.ReadRequest(urn=URN, id=made.id, properties=updated.properties, inputs=news)).id == ""


def test_wrong_inputs_come_as_failures_of_their_properties(stub):
    failures = checked(stub, {"delaySeconds": "soon"}).failures
    assert [(failure.property, failure.reason) for failure in failures] == [
        ("delaySeconds", "is 'soon'; it must be a whole number")
    ]


def test_the_stack_s_naming_is_honoured(stub):
    options = proto.CheckRequest.AutonamingOptions(
        proposed_name="from-config", mode=proto.CheckRequest.AutonamingOptions.Mode.PROPOSE
    )
    assert from_struct(checked(stub, {}, autonaming=options).inputs)["name"] == "from-config"


def test_an_unsupported_type_is_an_error_without_a_trace(stub):
    urn = "urn:pulumi:test::project::aws:eks/fargateProfile:FargateProfile::c"
    with pytest.raises(grpc.RpcError) as error:
        checked(stub, {}, urn=urn)
    assert "aws:eks/fargateProfile:FargateProfile is not emulated" in error.value.details()
    assert "rows/eks.py" in error.value.details()
    assert "Traceback" not in error.value.details()


def test_an_error_of_aws_names_operation_resource_and_code(stub):
    urn = "urn:pulumi:test::project::aws:s3/bucketVersioning:BucketVersioning::v"
    inputs = checked(stub, {"bucket": "nowhere", "versioningConfiguration": {"status": "Enabled"}}, urn=urn).inputs
    with pytest.raises(grpc.RpcError) as error:
        stub.Create(proto.CreateRequest(urn=urn, properties=inputs))
    assert error.value.details() == (
        "creating v (aws:s3/bucketVersioning:BucketVersioning): s3:PutBucketVersioning: NoSuchBucket: "
        "The specified bucket does not exist"
    )


def test_ignored_changes_are_no_changes(stub):
    old = checked(stub, {"delaySeconds": 5}).inputs
    new = checked(stub, {"delaySeconds": 6, "name": from_struct(old)["name"]}).inputs
    request = proto.DiffRequest(urn=URN, id="i", olds=old, old_inputs=old, news=new, ignoreChanges=["delaySeconds"])
    assert stub.Diff(request).changes == proto.DiffResponse.DIFF_NONE


@pytest.mark.parametrize(
    ("token", "arguments", "expected"),
    [
        ("aws:index/getCallerIdentity:getCallerIdentity", {}, {"accountId": "123456789012"}),
        ("aws:index/getPartition:getPartition", {}, {"partition": "aws", "dnsSuffix": "amazonaws.com"}),
        (
            "aws:index/getRegion:getRegion",
            {},
            {"region": "us-east-1", "description": "US East (N. Virginia)", "endpoint": "ec2.us-east-1.amazonaws.com"},
        ),
        ("aws:index/getRegion:getRegion", {"region": "me-central-1"}, {"name": "me-central-1"}),
    ],
)
def test_data_sources(stub, token, arguments, expected):
    answer = stub.Invoke(proto.InvokeRequest(tok=token, args=to_struct(arguments)))
    found = from_struct(getattr(answer, "return"))
    assert {key: found[key] for key in expected} == expected


def test_availability_zones(stub):
    token = "aws:index/getAvailabilityZones:getAvailabilityZones"
    arguments = to_struct({"state": "available", "excludeNames": ["us-east-1a"]})
    found = from_struct(getattr(stub.Invoke(proto.InvokeRequest(tok=token, args=arguments)), "return"))
    assert found["names"][0] == "us-east-1b"
    assert len(found["names"]) == len(found["zoneIds"])


def test_a_data_source_that_is_not_emulated(stub):
    with pytest.raises(grpc.RpcError) as error:
        stub.Invoke(proto.InvokeRequest(tok="aws:ec2/getAmi:getAmi", args=to_struct({})))
    assert "aws:ec2/getAmi:getAmi is not emulated" in error.value.details()


def test_a_changed_region_replaces_the_provider(stub):
    def diff(old, new):
        urn = "urn:pulumi:test::project::pulumi:providers:aws::aws"
        return stub.DiffConfig(proto.DiffRequest(urn=urn, old_inputs=to_struct(old), news=to_struct(new)))

    assert list(diff({"region": "us-east-1"}, {"region": "eu-west-1"}).replaces) == ["region"]
    tags = diff({"region": "us-east-1"}, {"region": "us-east-1", "defaultTags": "{}"})
    assert (tags.changes, list(tags.replaces)) == (proto.DiffResponse.DIFF_SOME, [])


def test_nothing_is_begun_after_cancel(endpoint: str):
    from trainyard.local.aws.errors import ProviderError
    from trainyard.local.aws.plugin import Servicer

    servicer = Servicer()
    servicer.Cancel(Empty(), None)  # ty: ignore[invalid-argument-type]
    with pytest.raises(ProviderError, match="cancelled"):
        servicer.working()


def start_plugin() -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "trainyard.local.aws.plugin"]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline().strip().isdigit()
    return started


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_goes_at_once_when_the_engine_ends_it(number: signal.Signals):
    """The engine waits five seconds for a plugin that does not."""
    plugin = start_plugin()
    plugin.send_signal(number)
    assert plugin.wait(WAIT_SECONDS) == 0, "by itself, and not killed"
    assert plugin.stderr is not None
    assert plugin.stderr.read() == ""


def test_it_ends_with_its_parent():
    program = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'trainyard.local.aws.plugin'], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    plugin = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    wait_until(lambda: not is_running(plugin))
