"""Every row is whole: nothing of the SDK's type is forgotten, and nothing is said twice or about nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import boto3
import pytest

from trainyard.local.aws.calls import Call, Read
from trainyard.local.aws.cloudformation import schema
from trainyard.local.aws.row import Row
from trainyard.local.aws.rows import file_for, rows
from trainyard.local.aws.sdk import sdk_type
from trainyard.local.paths import ROOT

ROWS = sorted(rows().items())
EACH_ROW = pytest.mark.parametrize("row", [row for _, row in ROWS], ids=[token for token, _ in ROWS])


def named(row: Row) -> set[str]:
    naming = {row.name.property, row.name.prefix_property} if row.name else set()
    return naming - {""}


@EACH_ROW
def test_every_input_is_sent_acted_on_or_refused(row: Row):
    known = {*row.fields, *row.local, *row.not_emulated, *named(row), "region", "tags"}
    assert not set(sdk_type(row.token).inputs) - known


@EACH_ROW
def test_every_output_has_a_source(row: Row):
    sdk = sdk_type(row.token)
    known = {*row.told, *row.outputs, *row.not_emulated, *sdk.inputs, "tagsAll", "region"}
    assert not set(sdk.outputs) - known


@EACH_ROW
def test_a_row_speaks_only_of_properties_that_there_are(row: Row):
    sdk = sdk_type(row.token)
    inputs, both = set(sdk.inputs), {*sdk.inputs, *sdk.outputs}
    top = {path.split(".")[0].removesuffix("[]") for path in (*row.computed, *row.unchecked, *row.schema_names)}
    assert {*row.local, *row.defaults, *row.replace_on, *row.in_place, *named(row)} <= inputs
    assert {*row.not_emulated, *row.outputs, *top} <= both
    assert {name for name in row.fields if not name.startswith("_")} <= both


@EACH_ROW
def test_a_property_is_emulated_or_not(row: Row):
    assert not set(row.not_emulated) & {*row.fields, *row.local, *row.defaults, *row.outputs}


@EACH_ROW
def test_tags_are_in_the_row_where_the_type_has_them(row: Row):
    assert (row.tags is not None) == ("tags" in sdk_type(row.token).inputs)


@EACH_ROW
def test_the_operations_and_their_parameters_exist(row: Row):
    for step in (row.creating, *row.setting, *row.update, *row.delete, *row.reading):
        if not isinstance(step, (Call, Read)):
            continue
        client = boto3.client(row.service, "us-east-1", aws_access_key_id="testing", aws_secret_access_key="testing")
        operation = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[step.operation])
        assert set(step.request) <= set(operation.input_shape.members), step.operation


@EACH_ROW
def test_the_schema_that_a_row_names_exists(row: Row):
    if row.cloudformation:
        found = schema(row.cloudformation)
        for name, theirs in row.schema_names.items():
            if "." not in name and "[]" not in name:
                assert found.at(theirs) is not None, theirs


def test_each_row_stands_in_the_file_that_the_error_for_a_missing_one_names():
    import importlib

    for token, row in ROWS:
        module = importlib.import_module(file_for(token).removesuffix(".py").replace("/", "."))
        assert row in module.ROWS


def test_the_table_is_printed_as_markdown_and_as_json():
    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "trainyard.local.aws.rows", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    table = run()
    assert (ROOT / "docs" / "emulated-types.md").read_text() == table, "the page is made by the command in its head"
    assert "| `aws:s3/bucket:Bucket` |" in table
    assert "deprecated by the SDK; use the resource of its own" in table
    entries = {entry["type"]: entry for entry in json.loads(run("--json"))}
    assert set(entries) == set(rows())
    assert "versioningConfiguration" in entries["aws:s3/bucketVersioning:BucketVersioning"]["restricted_by_schema"]
