"""Writes policies/terraform/types.yaml anew: what of a resource type is called otherwise in Terraform and in Pulumi.

Which types stand there and which is which comes from the file itself; to add one, write its row with `pulumi` alone.
What else a row says is found by comparing the schemas of both, property by property:

    pip download --no-deps --dest FOLDER cdktf-cdktf-provider-aws cdktf-cdktf-provider-kubernetes
    .venv/bin/python tools/terraform/make_table.py FOLDER

Properties of which only one side knows are told on standard error.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from provider_schema import Attribute, read_bindings

from trainyard.local.aws import sdk
from trainyard.policies.terraform.names import camel, snake

TABLE = Path(__file__).parents[2] / "policies" / "terraform" / "types.yaml"
_DEPTH = 12
# A block in Terraform whose content stands beside it in Kubernetes.
_INLINE = frozenset({"persistent_volume_source"})
# Terraform's own: nothing that a rule could ask for.
_TERRAFORM_ONLY = frozenset({"timeouts", "wait", "wait_for_rollout", "wait_for_completion"})
# Where no rule of spelling leads from one to the other.
_FUNCTION = {"filename": "code", "function_name": "name"}
_SECRET = {"data": "stringData", "binary_data": "data"}  # Terraform encodes the one itself
_STORAGE_CLASS = {"storage_provisioner": "provisioner"}
_DAEMON_SET = {"spec.strategy": "updateStrategy"}
_SPELT_OTHERWISE = {
    "aws_cloudwatch_log_subscription_filter": {"log_group_name": "logGroup"},
    "aws_cloudwatch_metric_alarm": {"alarm_name": "name"},
    "aws_lambda_function": _FUNCTION,
    "aws_lambda_layer_version": {"filename": "code"},
    "aws_s3_bucket_website_configuration": {"routing_rule": "routingRuleDetails"},
    "aws_lambda_permission": {"function_name": "function"},
    "aws_sns_topic_subscription": {"topic_arn": "topic"},
    "kubernetes_daemonset": _DAEMON_SET,
    "kubernetes_daemon_set_v1": _DAEMON_SET,
    "kubernetes_secret": _SECRET,
    "kubernetes_secret_v1": _SECRET,
    "kubernetes_storage_class": _STORAGE_CLASS,
    "kubernetes_storage_class_v1": _STORAGE_CLASS,
}


@dataclass
class Row:
    """What differs of one type. Paths are Terraform's, with dots."""

    names: dict[str, str] = field(default_factory=dict)
    single: list[str] = field(default_factory=list)
    objects: list[str] = field(default_factory=list)
    inline: dict[str, list[str]] = field(default_factory=dict)
    computed: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def compare(terraform: str, attributes: Mapping[str, Attribute], token: str) -> Row:
    inputs, outputs, objects = _described(token)
    row = Row(names=dict(_SPELT_OTHERWISE.get(terraform, {})))
    _compare(attributes, {**outputs, **inputs}, objects, (), row)
    computed = {row.names.get(name, camel(name)): name for name in attributes}
    # All tags are made of what is written, and known from the first.
    only_given = computed.keys() & outputs.keys() - inputs.keys() - {"tagsAll"}
    row.computed = sorted(computed[name] for name in only_given)
    return row


def _compare(
    attributes: Mapping[str, Attribute],
    properties: Mapping[str, Any],
    objects: Mapping[str, Any],
    above: tuple[str, ...],
    row: Row,
) -> None:
    for name, found in _paired(attributes, properties).items():
        path = (*above, name)
        dotted = ".".join(path)
        attribute = attributes[name]
        pulumi = row.names.get(dotted, found)
        if name in _INLINE:
            row.inline[dotted] = sorted(attribute.nested)
            _compare(attribute.nested, properties, objects, path, row)
            continue
        if pulumi is None:
            row.unknown.append(dotted)
            continue
        if camel(name) != pulumi or snake(pulumi) != name:
            row.names[dotted] = pulumi
        described = properties[pulumi]
        inside = _object(described)
        if described["is"] != "list" and attribute.listed:
            row.single.append(dotted)
        elif described["is"] == "object" and not attribute.listed:
            row.objects.append(dotted)
        if inside is not None and attribute.nested and len(path) < _DEPTH:
            _compare(attribute.nested, objects[inside]["properties"], objects, path, row)


def _object(described: Mapping[str, Any]) -> str | None:
    """The name of the object that a property is, or holds a list or map of."""
    while described["is"] in ("list", "map"):
        described = described["of"]
    if described["is"] == "union":
        described = next((one for one in described["of"] if one["is"] == "object"), described)
    return described.get("name")


def _paired(attributes: Mapping[str, Attribute], properties: Mapping[str, Any]) -> dict[str, str | None]:
    """Terraform's names with Pulumi's: those spelt alike first, then plural and singular among the rest."""
    bare = {re.sub(r"\W|_", "", name).lower(): name for name in properties}
    found: dict[str, str | None] = {}
    for name in attributes:
        found[name] = name if name in ("id",) else camel(name) if camel(name) in properties else None
        if found[name] is None:
            found[name] = bare.get(name.replace("_", "").lower())
    left = set(bare) - {str(name).lower() for name in found.values()}
    for name, pulumi in found.items():
        if pulumi is None:
            key = next((one for one in _numbers(name.replace("_", "").lower()) if one in left), None)
            found[name] = bare[key] if key else None
    return {name: pulumi for name, pulumi in found.items() if name not in _TERRAFORM_ONLY and name != "id"}


def _numbers(word: str) -> Iterable[str]:
    yield from (f"{word}s", f"{word}es", f"{word[:-1]}ies")
    yield from (word.removesuffix("s"), word.removesuffix("es"), re.sub("ies$", "y", word))


def _kubernetes_type(token: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    group, kind = token.removeprefix("kubernetes:").split(":")
    group = re.sub(r"\.k8s\.io|\.authorization", "", group)
    module = importlib.import_module(f"pulumi_kubernetes.{group.replace('/', '.')}")
    objects: dict[str, Any] = {}
    initial = getattr(module, f"{kind}InitArgs", None)
    inputs, _ = sdk._properties(initial or getattr(module, f"{kind}Args"), objects)
    return inputs, {}, objects


def _described(token: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Inputs, outputs, and the objects that they hold."""
    if token.startswith("kubernetes:"):
        return _kubernetes_type(token)
    found = sdk.sdk_type(token)
    return found.inputs, found.outputs, found.objects


def main() -> int:
    if len(sys.argv) != 2 or not (wheels := sorted(Path(sys.argv[1]).glob("cdktf_cdktf_provider_*.whl"))):
        sys.exit(__doc__)
    schemas: dict[str, dict[str, Attribute]] = {}
    for wheel in wheels:
        schemas |= read_bindings(wheel)
    rows = {}
    old_rows = yaml.safe_load(TABLE.read_text(encoding="utf-8"))["types"]
    for terraform, old in old_rows.items():
        token = old_rows[old.get("same_as", terraform)]["pulumi"]
        row = compare(terraform, schemas[terraform], token)
        rows[terraform] = {"pulumi": token} | {
            key: value for key in ("names", "single", "objects", "inline", "computed") if (value := getattr(row, key))
        }
        if row.unknown:
            print(f"{terraform}: {', '.join(row.unknown)}", file=sys.stderr)
    for terraform, row in rows.items():
        # Most Kubernetes kinds stand there under two names.
        newer = f"{terraform}_v1" if terraform != "kubernetes_daemonset" else "kubernetes_daemon_set_v1"
        if rows.get(newer) == row:
            rows[terraform] = {"same_as": newer}
    sources = [f"pulumi-aws {version('pulumi-aws')}", f"pulumi-kubernetes {version('pulumi-kubernetes')}"]
    sources += [" ".join(wheel.name.split("-")[:2]).replace("_", "-") for wheel in wheels]
    head, _, _ = TABLE.read_text(encoding="utf-8").partition("source:")
    body = yaml.safe_dump({"source": ", ".join(sources)}, width=120)
    body += yaml.safe_dump({"types": dict(sorted(rows.items()))}, sort_keys=False, width=120)
    TABLE.write_text(f"{head}{body}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
