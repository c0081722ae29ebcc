"""The outputs of a resource that is not made yet, as its provider tells them in a preview.

Where nobody has asked the provider, they are missing altogether: in a saved preview, and in the engine while the
provider's own configuration is unknown (Kubernetes objects before there is a cluster). An output that is not known yet
would look like one that is not there, and no stack rule would see what was asked for. What AWS itself will say is read
from the source of the pulumi-aws SDK: what the provider computes is never optional there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trainyard.policies.values import UNKNOWN

_GETTER = re.compile(
    r'^    @pulumi\.getter(?:\(name="(?P<name>\w+)"\))?\n(?:    @.*\n)*'
    r"    def (?P<plain>\w+)\(self\) -> pulumi\.Output\[(?P<type>.*)\]:$",
    re.MULTILINE,
)


def outputs_before(resource_type: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for, and `UNKNOWN` for what the provider will say."""
    return {**dict.fromkeys(computed_outputs(resource_type), UNKNOWN), **inputs}


@cache
def computed_outputs(resource_type: str) -> frozenset[str]:
    """Names of the outputs that the provider computes; none of a type that is not in pulumi-aws."""
    for source in _sources(resource_type):
        text = source.read_text(encoding="utf-8")
        if f"'{resource_type}'," in text:
            own = text[text.rfind("\nclass ") :]  # before it stand the classes of its arguments and of its state
            found = _GETTER.finditer(own)
            return frozenset(one["name"] or one["plain"] for one in found if not one["type"].startswith("Optional["))
    return frozenset()


def _sources(resource_type: str) -> Iterator[Path]:
    """Modules that may define the type, the likely one first."""
    matched = re.fullmatch(r"aws:(\w+)/(\w+):\w+", resource_type)
    package = find_spec("pulumi_aws") if matched else None
    if matched is None or package is None or not package.submodule_search_locations:
        return
    folder = Path(package.submodule_search_locations[0], matched[1])
    likely = folder / f"{re.sub(r'(?<!^)(?=[A-Z])', '_', matched[2]).lower()}.py"
    if likely.is_file():
        yield likely
    yield from (one for one in sorted(folder.glob("*.py")) if one != likely)
