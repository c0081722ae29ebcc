"""The process that a team's own rules run in, so that nothing they do can end or hold up the judgement of the others.

It reads requests on standard input and answers on standard output, as `own_wire` has them. What the rules themselves
write there goes to standard error.
"""

from __future__ import annotations

import importlib
import os
import resource
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from trainyard.policies import own_wire
from trainyard.policies.graph import Graph
from trainyard.policies.rule import Finding, Rule, Scope, Severity
from trainyard.policies.values import UnverifiedError

MOST_FINDINGS = 1000
"""Of one rule on one resource."""
LONGEST_MESSAGE = 10_000
"""Characters."""
_MOST_MEMORY = 2 << 30
"""Bytes, above what the process begins with."""
_GRACE = 5
"""Seconds above a request's own, after which a process that nobody ends any more ends itself."""
_SHIPPED = "trainyard.policies."
_ENDINGS = (SystemExit, KeyboardInterrupt, GeneratorExit)
Key: TypeAlias = tuple[str, str, int]
"""Of a rule: its folder, its module, and which of the rules there it is."""


class _Worker:
    def __init__(self) -> None:
        self._rules: dict[Key, Rule] = {}
        self._graph = Graph(())

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        what = request["do"]
        if what == "import":
            return self._import(Path(request["folder"]), request["stem"])
        if what == "graph":
            self._graph = own_wire.graph_meant(request["graph"])
            return {}
        folder, stem, number = request["rule"]
        rule = self._rules[folder, stem, number]
        if what == "applies":
            return self._applies(rule, request["type"])
        return self._judge(rule, request["urn"])

    def _import(self, folder: Path, stem: str) -> dict[str, Any]:
        try:
            module = _imported(folder, stem)
        except BaseException as failed:  # noqa: BLE001  # somebody else's code: whatever it does is told
            return {"failed": _said(failed, folder / f"{stem}.py")}
        known = [*self._rules.values(), *_shipped()]
        found: list[dict[str, Any]] = []
        for rule in vars(module).values():
            if isinstance(rule, Rule) and not any(rule is one for one in known):
                known.append(rule)
                self._rules[str(folder), stem, len(found)] = rule
                found.append(_described(rule))
        return {"rules": found}

    def _applies(self, rule: Rule, kind: str) -> dict[str, Any]:
        try:
            return {"applies": bool(rule.applies(kind))}
        except BaseException:  # noqa: BLE001  # told as a finding, once the rule is asked
            return {"applies": True}

    def _judge(self, rule: Rule, urn: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = []
        try:
            subject = self._graph.by_urn[urn]
            rule.applies(subject.type)
            for finding in rule.check(subject, self._graph):
                found.append(own_wire.finding_as_told(_sound(finding)))
                if len(found) > MOST_FINDINGS:
                    raise ValueError(f"it finds more than {MOST_FINDINGS} things on one resource")
        except UnverifiedError as unread:
            return {"findings": found, "unread": own_wire.unread_as_told(unread)}
        except _ENDINGS as ended:
            said = f"it raises {type(ended).__name__}, which ends no judgement"
            return {"findings": found, "failed": ["RuntimeError", said]}
        except BaseException as failed:  # noqa: BLE001
            return {
                "findings": found[:MOST_FINDINGS],
                "failed": [type(failed).__name__, _writable(str(failed)[:LONGEST_MESSAGE])],
            }
        return {"findings": found}


def _shipped() -> Iterator[Rule]:
    """The pack's own rules, as far as a module of the team's has imported them."""
    for name, module in list(sys.modules.items()):
        if name.startswith(_SHIPPED):
            yield from (one for one in vars(module).values() if isinstance(one, Rule))


def _imported(folder: Path, stem: str) -> ModuleType:
    """A module of a folder, which is a package of its own: modules of one folder may import each other relatively."""
    package = f"trainyard_own_rules_{sha256(str(folder).encode()).hexdigest()[:12]}"
    if package not in sys.modules:
        whole = ModuleType(package)
        whole.__path__ = [str(folder)]
        sys.modules[package] = whole
    return importlib.import_module(f"{package}.{stem}")


def _said(failed: BaseException, file: Path) -> str:
    """An error in one line, with the line of the file that it came from."""
    lines = [one.lineno for one in traceback.extract_tb(failed.__traceback__) if one.filename == str(file)]
    if isinstance(failed, SyntaxError) and failed.lineno:
        lines = [failed.lineno]
    where = f" (line {lines[-1]})" if lines else ""
    return _writable(f"{type(failed).__name__}: {' '.join(str(failed).split())[:LONGEST_MESSAGE]}{where}")


def _described(rule: Rule) -> dict[str, Any]:
    """All of a rule that is no code, or what is wrong with it."""
    wrong = list(_wrong_with(rule))
    if wrong:
        return {"id": rule.id if isinstance(rule.id, str) else None, "shown": repr(rule.id), "wrong": wrong}
    return {
        "id": rule.id if isinstance(rule.id, str) else None,
        "shown": repr(rule.id),
        "wrong": [],
        "title": rule.title,
        "severity": rule.severity.value,
        "scope": rule.scope.value,
        "controls": {str(name): list(ids) for name, ids in rule.controls.items()},
        "why": rule.why,
        "remedy": rule.remedy,
        "advice": bool(rule.advice),
    }


def _wrong_with(rule: Rule) -> Iterator[str]:
    for field in ("title", "why", "remedy"):
        text = getattr(rule, field)
        if not isinstance(text, str) or not text.strip():
            yield f"{field} is missing; it is what a person reads who has to mend a finding"
    for field, kind in (("severity", Severity), ("scope", Scope)):
        if not isinstance(value := getattr(rule, field), kind):
            may_be = ", ".join(f"{kind.__name__}.{one.name}" for one in kind)
            yield f"{field} is {value!r}; it may be {may_be}"
    if not callable(rule.applies):
        yield f"applies is {rule.applies!r}; write a set of resource types, or a function that tests one"
    controls = rule.controls
    if not isinstance(controls, Mapping) or not controls:
        yield 'controls name what demands this, such as {"NIST 800-53": ("SC-12",)}; a standard of your own will do'
        return
    for catalogue, ids in controls.items():
        if not isinstance(ids, tuple) or not ids or not all(isinstance(one, str) for one in ids):
            yield f'controls[{catalogue!r}] is {ids!r}; write a tuple of ids, such as ("SC-12",)'


def _sound(finding: Any) -> Finding:
    if not isinstance(finding, Finding):
        raise TypeError(f"yield violation(…) or unverified(…), not a {type(finding).__name__}")
    if not isinstance(finding.message, str):
        raise TypeError(f"a finding's message is a text, not a {type(finding.message).__name__}")
    if len(finding.message) > LONGEST_MESSAGE:
        raise ValueError(f"a finding's message has more than {LONGEST_MESSAGE} characters")
    return replace(finding, message=_writable(finding.message))


def _writable(text: str) -> str:
    """Half a character, as JSON may hold it, could be neither sent nor printed."""
    return text.encode(errors="replace").decode()


def _serve(requests: Iterable[bytes], answers: int) -> None:
    worker, mine = _Worker(), os.getpid()
    for told in requests:
        request = own_wire.read(told)
        # Whoever started this ends it in time. Should that be gone by then, nothing else would.
        signal.alarm(int(request["seconds"]) + _GRACE)
        try:
            answer = own_wire.line(worker.answer(request))
        except (MemoryError, RecursionError, ValueError, TypeError) as failed:
            answer = own_wire.line({"failed": [type(failed).__name__, "what it found cannot be told"]})
        signal.alarm(0)
        if os.getpid() != mine:
            os._exit(0)  # a rule has forked: one answer is enough
        while answer:
            answer = answer[os.write(answers, answer) :]


def _bound() -> None:
    """No more memory than a rule needs, and no dump of it where it crashes."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        has = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = has + _MOST_MEMORY
        if hard == resource.RLIM_INFINITY or most < hard:
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
    except (OSError, ValueError):
        return  # not on this system


def main() -> None:
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    _bound()
    with os.fdopen(requests, "rb") as lines:
        _serve(lines, answers)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # nobody asks any more: whatever a rule has started ends too, threads and all


if __name__ == "__main__":
    main()
