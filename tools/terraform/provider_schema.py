"""What a Terraform provider's resource types take and give, read from CDK for Terraform's bindings of the provider.

Those are made from the provider's own schema and keep its names to the letter. They are JavaScript and are read as
text: nothing of them runs, and no Terraform has to be there.
"""

from __future__ import annotations

import re
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

_ENTRY = re.compile(r"^ +(\w+): \{\n +value: (.*),\n +isBlock: (?:true|false),\n +type: \"(\w+)\",\n", re.MULTILINE)
_NESTED = re.compile(r"\b(\w+)ToHclTerraform\b")
_FUNCTION = re.compile(r"^function (\w+)ToHclTerraform\(struct\) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_CLASS = re.compile(r"^class (\w+) extends cdktf\.(\w+) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_COMPUTED_LIST = re.compile(
    r"// \w+ - computed: true, optional: false, required: false\n +this\.\w+ = new (\w+?)(?:List|Map)\(this, \"(\w+)\""
)
_COMPUTED_VALUE = re.compile(r"return (?:cdktf\.Fn\.tolist\()?this\.get\w+Attribute\('(\w+)'\)")
_RESOURCE_TYPE = re.compile(r"tfResourceType = \"(\w+)\"")


@dataclass
class Attribute:
    """One property. `nested` holds what is inside a block; `listed` is whether Terraform writes it as a list, and
    `many` whether that list may hold more than one."""

    name: str
    nested: dict[str, Attribute] = field(default_factory=dict)
    listed: bool = False
    many: bool = False


def read_bindings(wheel: Path) -> dict[str, dict[str, Attribute]]:
    """Resource type -> its properties by name, for every resource type (no data source) of the provider."""
    with zipfile.ZipFile(wheel) as package:
        (inner,) = [name for name in package.namelist() if name.endswith(".jsii.tgz")]
        content = package.read(inner)
    # The nested parts of a large one have files of their own.
    texts: defaultdict[str, list[str]] = defaultdict(list)
    with tarfile.open(fileobj=BytesIO(content)) as archive:
        for member in archive:
            folder = re.fullmatch(r"package/lib/([a-z0-9-]+)/.*\.js", member.name)
            if folder and not folder[1].startswith("data-") and (file := archive.extractfile(member)):
                texts[folder[1]].append(file.read().decode())
    return {kind: attributes for parts in texts.values() for kind, attributes in _resource("\n".join(parts))}


def _resource(text: str) -> Iterator[tuple[str, dict[str, Attribute]]]:
    functions = dict(_FUNCTION.findall(text))
    classes = {name: body for name, _, body in _CLASS.findall(text)}
    for name, base, body in _CLASS.findall(text):
        kind = _RESOURCE_TYPE.search(text)
        if base == "TerraformResource" and kind:
            settable = body.partition("synthesizeHclAttributes()")[2]
            yield kind[1], _computed(name, classes) | _settable(settable, functions, ())


def _settable(body: str, functions: dict[str, str], above: tuple[str, ...]) -> dict[str, Attribute]:
    found = {}
    for name, value, kind in _ENTRY.findall(body):
        function = next((one for one in _NESTED.findall(value) if one in functions), None)
        nested = {}
        # A schema that contains itself is followed once round.
        if function and above.count(function) < 2:
            nested = _settable(functions[function], functions, (*above, function))
        many = "listMapperHcl" in value
        found[name] = Attribute(name, nested, bool(function) and kind in ("list", "set"), many)
    return found


def _computed(name: str, classes: dict[str, str]) -> dict[str, Attribute]:
    """What only the provider gives."""
    body = classes.get(name) or classes.get(f"{name}OutputReference", "")
    found = {value: Attribute(value) for value in _COMPUTED_VALUE.findall(body)}
    for kind, value in _COMPUTED_LIST.findall(body):
        found[value] = Attribute(value, _computed(kind, classes), listed=True, many=True)
    return found
