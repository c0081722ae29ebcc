"""The pack over one stack of thousands of resources, in a process of its own, so that its peak memory is its own.

The resources are those of a real state, multiplied, in one of two layouts. `teams` is one platform with ever more
teams, each with a namespace, a role, jobs and buckets of its own, and all with the platform's. `platforms` is ever more
whole platforms in one stack. What is asked is what the engine asks: each resource alone, then all together, in its own
messages.

    python -m benchmarks.policies_graph export.json 5000 --layout teams
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pulumi.runtime import proto

from trainyard.modules.job_manifest import JobRequest, render
from trainyard.policies import testing
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.in_force import in_force
from trainyard.policies.pack import analyzer
from trainyard.policies.rule import Finding, Rule
from trainyard.policies.state import graph_of

LAYOUTS = ("teams", "platforms")
SLOWEST_RULES = 10
# A team's jobs and buckets; the sequence repeats.
_JOBS = (3, 1, 8, 2, 5, 13)
_BUCKETS = (1, 0, 2)
_TELLING = 15  # characters
_IDENTIFIERS = ("id", "arn", "bucket", "url", "keyId", "associationId", "associationArn")
_BUCKET_COMPONENT = "trainyard:private_bucket:PrivateBucket"
_TEAM_COMPONENTS = ("team_namespace", "training_role", "pod_identity", "job_templates", "shared_volumes")


class TooSmallError(ValueError):
    """The state has no team, job template or bucket of which there could be more."""


def stack(base: Graph, layout: str, size: int) -> list[Resource]:
    """`size` resources in the order in which a program would register them. Raises TooSmallError."""
    more = _platforms(base) if layout == "platforms" else itertools.chain(base.resources, _teams(base))
    return list(itertools.islice(more, size))


def _platforms(base: Graph) -> Iterator[Resource]:
    known = _identifiers(base.resources)
    for number in itertools.count():
        yield from _copies(base.resources, known, lambda text, by=f"-{number}": f"{text}{by}")


def _teams(base: Graph) -> Iterator[Resource]:
    team = next(
        (one.props["metadata"]["name"] for one in base.of({"kubernetes:core/v1:Namespace"}) if _is_team(one)), ""
    )
    of_team = [one for one in base.resources if _is_team(one)]
    templates = [one.props["data"] for one in of_team if "job.yaml" in (one.props.get("data") or {})]
    first = next((one.name for one in base.resources if one.type == _BUCKET_COMPONENT), "")
    if not (team and templates and first):
        raise TooSmallError("the state has no team with a job template, or no bucket")
    one_bucket = [one for one in base.resources if one.name.startswith(first) and _is_of_bucket(one)]
    of_role, of_bucket = _identifiers(of_team), _identifiers(one_bucket)
    word = re.compile(rf"(?<![\w.]){re.escape(team)}(?![\w@.]|-platform)")
    for number in itertools.count():
        name = f"team-{number}"
        yield from _copies(of_team, of_role, lambda text, name=name: word.sub(name, text), suffix=f"-{number}")
        for index in range(_JOBS[number % len(_JOBS)]):
            yield from _job(templates[index % len(templates)], of_team[0], team, name, index)
        for index in range(_BUCKETS[number % len(_BUCKETS)]):
            yield from _copies(one_bucket, of_bucket, lambda text, by=f"-{number}-{index}": f"{text}{by}")


def _is_of_bucket(one: Resource) -> bool:
    return one.type == _BUCKET_COMPONENT or one.type.startswith("aws:s3/")


def _is_team(one: Resource) -> bool:
    return any(f":{component}:" in one.urn for component in _TEAM_COMPONENTS)


def _identifiers(resources: Iterable[Resource]) -> frozenset[str]:
    found = (one.props.get(name) for one in resources for name in _IDENTIFIERS)
    return frozenset(text for text in found if isinstance(text, str) and text)


def _copies(
    resources: list[Resource], known: frozenset[str], renamed: Callable[[str], str], suffix: str = ""
) -> Iterator[Resource]:
    """The resources under other names and identifiers, referring to each other as before. What they refer to besides
    is common to all."""
    own = {one.urn: renamed(one.urn) for one in resources}
    own |= {urn: f"{new}{suffix}" for urn, new in own.items() if new == urn}
    whole = {text: renamed(text) for text in known}
    whole |= {text: f"{new}{suffix}" for text, new in whole.items() if new == text}
    # A short name may also stand for something else in a text.
    longest = sorted((text for text in known if len(text) >= _TELLING), key=len, reverse=True)
    inside = re.compile("|".join(map(re.escape, longest))) if longest else None

    def value(raw: Any) -> Any:
        if isinstance(raw, str):
            if raw in whole:
                return whole[raw]
            # With a suffix the names themselves change; without, an identifier inside of a policy or an ARN.
            return renamed(raw) if suffix else inside.sub(lambda one: whole[one[0]], raw) if inside else raw
        if isinstance(raw, dict):
            return {key: value(item) for key, item in raw.items()}
        return [value(item) for item in raw] if isinstance(raw, list) else raw

    for one in resources:
        urn = own[one.urn]
        yield replace(
            one,
            urn=urn,
            name=urn.rpartition("::")[2],
            props=value(dict(one.props)),
            dependencies=tuple(own.get(other, other) for other in one.dependencies),
            property_dependencies={
                name: tuple(own.get(other, other) for other in others)
                for name, others in one.property_dependencies.items()
            },
        )


def _job(template: Mapping[str, str], like: Resource, team: str, name: str, index: int) -> Iterator[Resource]:
    """What `trainyard train` makes of the team's template."""
    request = JobRequest(f"job-{index}", f"{template['image']}@sha256:{'0' * 64}", nodes=1 + index % 4)
    head = like.urn.rpartition("::")[0].rpartition("::")[0]
    for manifest in render(template["job.yaml"], request, datetime(2031, 1, 16, tzinfo=UTC)):
        kind = f"kubernetes:{_version(manifest)}:{manifest['kind']}"
        called = f"{name}-{request.name}"
        metadata = {**manifest["metadata"], "namespace": name}
        props = json.loads(json.dumps({**manifest, "metadata": metadata}).replace(f'"{team}"', f'"{name}"'))
        yield Resource(f"{head}::{kind}::{called}", kind, called, props, like.provider)


def _version(manifest: Mapping[str, Any]) -> str:
    version = str(manifest["apiVersion"])
    return version if "/" in version else f"core/{version}"


def measure(resources: list[Resource], timed: bool = False) -> dict[str, Any]:
    """Seconds of both kinds of rules, of all together on the wall and of this process alone; peak memory of the process
    with the engine's messages in it. `timed`: each rule's own seconds as well, which cost some themselves."""
    spent: defaultdict[str, float] = defaultdict(float)
    judging = in_force()
    if timed:
        judging = replace(judging, rules=tuple(replace(rule, check=_timed(rule, spent)) for rule in judging.rules))
    asked = analyzer(judging)
    alone = [testing.analyze_request(one) for one in resources]
    together = proto.AnalyzeStackRequest(resources=[testing.stack_resource(one) for one in resources])
    began, busy = time.perf_counter(), time.process_time()
    told = sum(len(asked.Analyze(request, None).diagnostics) for request in alone)
    first, first_busy = time.perf_counter(), time.process_time()
    told += len(asked.AnalyzeStack(together, None).diagnostics)
    last, last_busy = time.perf_counter(), time.process_time()
    slowest = sorted(spent.items(), key=lambda one: -one[1])[:SLOWEST_RULES]
    return {
        "resources": len(resources),
        "seconds": {"resource rules": first - began, "stack rules": last - first, "together": last - began},
        "processor_seconds": {
            "resource rules": first_busy - busy,
            "stack rules": last_busy - first_busy,
            "together": last_busy - busy,
        },
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "findings": told,
        "slowest_rules": {rule: round(seconds, 4) for rule, seconds in slowest},
    }


def _timed(rule: Rule, spent: defaultdict[str, float]) -> Callable[[Resource, Graph], list[Finding]]:
    """What several rules share, such as who reaches what, counts for the one that asks first."""

    def check(one: Resource, graph: Graph) -> list[Finding]:
        began = time.process_time()
        try:
            return list(rule.check(one, graph))
        finally:
            spent[rule.id] += time.process_time() - began

    return check


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path, help="an exported state of a platform: pulumi stack export")
    parser.add_argument("size", type=int, help="resources")
    parser.add_argument("--layout", choices=LAYOUTS, default=LAYOUTS[0], help="default %(default)s")
    parser.add_argument("--by-rule", action="store_true", help="the seconds of the slowest rules as well")
    arguments = parser.parse_args()
    base = graph_of(json.loads(arguments.export.read_text(encoding="utf-8")))
    print(json.dumps(measure(stack(base, arguments.layout, arguments.size), arguments.by_rule)))


if __name__ == "__main__":
    main()
