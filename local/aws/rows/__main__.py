"""What is emulated and how far: `python -m trainyard.local.aws.rows` prints it as Markdown, with `--json` as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from typing import Any

from trainyard.local.aws import cloudformation
from trainyard.local.aws.calls import Call, Read
from trainyard.local.aws.diff import replacing_properties
from trainyard.local.aws.row import Row
from trainyard.local.aws.rows import rows
from trainyard.local.aws.sdk import sdk_type, sdk_version

_CONSTRAINTS = ("enum", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems")


def describe(row: Row) -> dict[str, Any]:
    """One row as data: its inputs, which of them a schema restricts, what replaces, and what is left out and why."""
    inputs = sorted(name for name in sdk_type(row.token).inputs if name not in row.not_emulated)
    steps = (row.creating, *row.setting, *row.update, *row.delete)
    operations = [step.operation for step in (*steps, *row.reading) if isinstance(step, (Call, Read))]
    return {
        "type": row.token,
        "operations": [f"{row.service}:{name}" for name in dict.fromkeys(operations)],
        "inputs": inputs,
        "restricted_by_schema": [name for name in inputs if _is_restricted(row, name)],
        "replaces": sorted(replacing_properties(row) & set(inputs)),
        "kept_and_told": sorted(set(inputs) & row.told),
        "not_emulated": dict(row.not_emulated),
        "notes": list(row.notes),
    }


def markdown(descriptions: list[dict[str, Any]]) -> str:
    """A table with a line per type, and below it what is left out."""
    lines = [
        "# What is checked, what is emulated and what is not, per resource type",
        "",
        "Made from the rows themselves: `python -m trainyard.local.aws.rows > docs/emulated-types.md`. What the",
        "emulation as a whole does not show stands in [Rehearse an environment](rehearsal.md), Kubernetes' types in",
        "[the kubernetes provider](kubernetes-provider.md).",
        "",
        f"Types, required and unknown properties of all inputs are checked against pulumi-aws {sdk_version()}.",
        "",
        "| Type | Inputs | Also checked for their values | Replace the resource |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{entry['type']}` | {len(entry['inputs'])} | {_names(entry['restricted_by_schema'])} "
        f"| {_names(entry['replaces'])} |"
        for entry in descriptions
    ]
    lines += ["", "Not emulated (inputs are refused with these words, outputs have no value):", ""]
    for entry in descriptions:
        reasons: defaultdict[str, list[str]] = defaultdict(list)
        for name, reason in entry["not_emulated"].items():
            reasons[reason].append(name)
        parts = [f"{_names(names)} ({reason})" for reason, names in reasons.items()] + entry["notes"]
        if parts:
            lines.append(f"- `{entry['type']}`: {'; '.join(parts)}.")
    return "\n".join(lines)


def _is_restricted(row: Row, name: str) -> bool:
    if not row.cloudformation or name in row.unchecked or name == "region":
        return False
    found = cloudformation.schema(row.cloudformation).at(row.schema_names.get(name, name))
    return found is not None and _restricts(found, depth=5)


def _restricts(schema: cloudformation.Schema, depth: int) -> bool:
    """Whether the schema, or one inside it, says more than a type; a schema may contain itself."""
    if any(key in schema.node for key in _CONSTRAINTS):
        return True
    inner = [schema.items(), *(schema.property(name) for name in schema.node.get("properties") or ())]
    return depth > 0 and any(found is not None and _restricts(found, depth - 1) for found in inner)


def _names(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names)) or "–"


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m trainyard.local.aws.rows", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    chosen = parser.parse_args(arguments)
    descriptions = [describe(row) for _, row in sorted(rows().items())]
    print(json.dumps(descriptions, indent=2) if chosen.json else markdown(descriptions))
    return 0


if __name__ == "__main__":
    sys.exit(main())
