"""Which resource types of AWS take tags, from the pulumi-aws SDK.

The table stands beside this module, so that checking needs no SDK. After an upgrade of pulumi-aws:
`python -m trainyard.policies.taggable > policies/taggable_types.json`
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

_TABLE = Path(__file__).with_name("taggable_types.json")


# Their `tags` say which resources to look at, not what the resource itself carries.
_CRITERIA = frozenset(
    {"aws:devopsguru/resourceCollection:ResourceCollection", "aws:inspector/resourceGroup:ResourceGroup"}
)

# What the table says of a type: whether the provider's default tags reach it (it has `tagsAll`) or only its own do.
_ALL_TAGS, _OWN_TAGS = "all tags", "own tags only"


@cache
def _types() -> Mapping[str, str]:
    return json.loads(_TABLE.read_text(encoding="utf-8"))["types"]


def taggable(resource_type: str) -> bool:
    return resource_type in _types()


def takes_default_tags(resource_type: str) -> bool:
    return _types().get(resource_type) == _ALL_TAGS


def read_sdk() -> dict[str, str]:
    """The types of the table, read from the source of the SDK's resource classes: importing them all takes 450 MB."""
    package = find_spec("pulumi_aws")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("pulumi-aws is not installed: pip install pulumi-aws")
    found: dict[str, str] = {}
    for source in Path(package.submodule_search_locations[0]).glob("**/*.py"):
        text = source.read_text(encoding="utf-8")
        token = re.search(r"\.__init__\(\s*'(aws:[^']+)',\s*resource_name,", text)
        if (
            token
            and token[1] not in _CRITERIA
            and re.search(r'^ {12}__props__\.__dict__\["tags"\] = tags$', text, re.MULTILINE)
        ):
            found[token[1]] = _ALL_TAGS if '__props__.__dict__["tags_all"]' in text else _OWN_TAGS
    return dict(sorted(found.items()))


def main() -> None:
    table = {"source": f"pulumi-aws {version('pulumi-aws')}, read by policies/taggable.py", "types": read_sdk()}
    sys.stdout.write(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
