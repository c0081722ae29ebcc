"""What the engine tells of a run: its event log read as it grows, and what that comes to.

Every event counts, whatever becomes of those who listen: a finding that was not read would look like none.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Event = dict[str, Any]


class EngineError(Exception):
    """The engine ended without success; the message is what it said."""

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result


@dataclass
class Result:
    """What one run of the engine did."""

    operation: str
    exit_status: int = 0
    seconds: float = 0.0
    changes: dict[str, int] = field(default_factory=dict)
    """Resources by what happened to them (`create`, `update`, `same`, `delete`, `replace`, …)."""
    policies: set[str] = field(default_factory=set)
    """Names of the policies that the engine evaluated on at least one resource, or on the stack."""
    violations: list[dict[str, str]] = field(default_factory=list)
    """Policy findings: `policy`, `level`, `urn`, `message`."""
    errors: list[str] = field(default_factory=list)
    complete: bool = False
    """Whether the engine's events were read to the last one, its summary."""
    steps: list[tuple[str, str]] = field(default_factory=list)
    """(operation, URN) of each resource step that changed something or would."""

    @property
    def mandatory(self) -> list[dict[str, str]]:
        """The findings that stop an engine; the others advise."""
        return [one for one in self.violations if one["level"] == "mandatory"]

    @classmethod
    def together(cls, results: Sequence[Result]) -> Result:
        """What several runs did, one after the other."""
        whole = cls(results[0].operation)
        for one in results:
            whole.exit_status = whole.exit_status or one.exit_status
            whole.seconds += one.seconds
            for what, count in one.changes.items():
                whole.changes[what] = whole.changes.get(what, 0) + count
            whole.policies |= one.policies
            whole.violations += one.violations
            whole.errors += one.errors
            whole.steps += one.steps
        whole.complete = all(one.complete for one in results)
        return whole


class Follower(threading.Thread):
    """Reads the engine's events as they happen, and takes all of them into account, whatever a listener does."""

    def __init__(
        self,
        file: Path,
        process: subprocess.Popen[bytes],
        result: Result,
        on_event: Callable[[Event], None] | None,
    ) -> None:
        super().__init__(daemon=True)
        self.failed: Exception | None = None
        """The first error while events were read or told."""
        self._events = _tail(file, process)
        self._result = result
        self._on_event = on_event

    def run(self) -> None:
        try:
            for event in self._events:
                _account(event, self._result)
                self._tell(event)
        except (OSError, ValueError, KeyError) as unreadable:
            self.failed = EngineError(f"an event of the engine cannot be read: {unreadable!r}", self._result)

    def _tell(self, event: Event) -> None:
        if self._on_event is None or self.failed is not None:
            return
        try:
            self._on_event(event)
        except Exception as failed:  # noqa: BLE001  # raised where the operation was asked for
            self.failed = failed


def _tail(file: Path, process: subprocess.Popen[bytes]) -> Iterator[Event]:
    """Events from the engine's log, until the process has ended and the log is read to its end."""
    rest = b""  # bytes: what is read may end within a character
    position = 0
    while True:
        ended = process.poll() is not None
        if file.exists():
            with file.open("rb") as log:
                log.seek(position)
                rest += log.read()
                position = log.tell()
        *lines, rest = rest.split(b"\n")
        for line in lines:
            if line.strip():
                yield json.loads(line)
        if ended:
            return
        time.sleep(0.1)


def _account(event: Event, result: Result) -> None:
    if "summaryEvent" in event:
        summary = event["summaryEvent"]
        result.changes = dict(summary.get("resourceChanges") or {})
        result.complete = True
    elif evaluated := event.get("policyAnalyzeSummaryEvent") or event.get("policyAnalyzeStackSummaryEvent"):
        result.policies.update(evaluated.get("passed") or ())
        result.policies.update(evaluated.get("failed") or ())
    elif "policyEvent" in event:
        finding = event["policyEvent"]
        result.violations.append(
            {
                "policy": finding.get("policyName", ""),
                "level": finding.get("enforcementLevel", ""),
                "urn": finding.get("resourceUrn", ""),
                "message": finding.get("message", "").strip(),
            }
        )
    elif "diagnosticEvent" in event and event["diagnosticEvent"].get("severity") == "error":
        result.errors.append(event["diagnosticEvent"].get("message", "").strip())
    elif "resourcePreEvent" in event:
        metadata = event["resourcePreEvent"]["metadata"]
        if metadata["op"] not in ("same", "read", "refresh"):
            result.steps.append((metadata["op"], metadata["urn"]))


def what_went_wrong(result: Result) -> str:
    """What a person has to know of a failed run: the policies that stopped it, and every error once."""
    stopped = [f"[{one['policy']}] {one['urn'].rsplit('::', 1)[-1]}: {one['message']}" for one in result.mandatory]
    return "\n".join(dict.fromkeys([*stopped, *result.errors]))
