"""Every check of Terraform resources that Checkov has, as JSON: id, name, and the resource types that it is about.

Runs in Checkov's own environment (`environment.checkov_python`), which has nothing of this project.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from checkov.common.checks_infra.registry import get_graph_checks_registry  # ty: ignore[import-not-found]
from checkov.terraform import runner  # noqa: F401 (loads the checks)  # ty: ignore[import-not-found]
from checkov.terraform.checks.resource.registry import resource_registry  # ty: ignore[import-not-found]


def main() -> None:
    found: dict[str, dict[str, Any]] = {}

    def add(check: Any, kinds: list[str]) -> None:
        row = found.setdefault(check.id, {"name": check.name, "types": []})
        row["types"] = sorted({*row["types"], *kinds})

    for table in (resource_registry.checks, resource_registry.wildcard_checks):
        for kind, checks in table.items():
            for check in checks:
                add(check, [kind])
    graph = get_graph_checks_registry("terraform")
    graph.load_checks()
    for check in graph.checks:
        add(check, check.resource_types)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
