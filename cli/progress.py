"""Progress of long work, shown where people look and silent where programs read.

Everything goes to standard error, so that standard output stays what a command's result is.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import IO, Any, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from trainyard.cli import output
from trainyard.local.engine import Event


class _StandardError:
    """Standard error, for as long as it can be written: the work goes on without anybody who reads along."""

    def write(self, text: str) -> int:
        try:
            return sys.stderr.write(text)
        except OSError:
            output.give_up(sys.stderr)
            return len(text)

    def flush(self) -> None:
        try:
            sys.stderr.flush()
        except OSError:
            output.give_up(sys.stderr)

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


console = Console(file=cast("IO[str]", _StandardError()), stderr=True, highlight=False)


class Step:
    """One line of progress; `show` says what is being done, how much is done, and how much there is (0: unknown)."""

    def __init__(self, title: str, progress: Progress) -> None:
        self.title = title
        self._progress = progress
        self._task = progress.add_task(title, total=None, detail="")
        self._plain_at = 0.0

    def show(self, detail: str, done: int = 0, total: int = 0) -> None:
        self._progress.update(self._task, detail=detail, completed=done, total=total or None)
        if not console.is_terminal:
            self._show_plain(detail, done, total)

    def _show_plain(self, detail: str, done: int, total: int) -> None:
        """Without a terminal nothing moves: a line every few seconds tells that the work goes on."""
        now = time.monotonic()
        if now - self._plain_at >= 5:
            self._plain_at = now
            amount = f" {done}/{total}" if total else (f" {done}" if done else "")
            console.print(f"    … {detail}{amount}", style="dim", markup=False)


@contextmanager
def step(title: str) -> Generator[Step]:
    """Show `title` while the block runs, and how long it took once it has ended."""
    started = time.monotonic()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[detail]}"),
    )
    if not console.is_terminal:
        console.print(f"==> {title}", markup=False)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        shown = Step(title, progress)
        try:
            yield shown
        except BaseException:
            progress.stop()
            console.print(f"[red]✗[/red] {title}")
            raise
    console.print(f"[green]✓[/green] {title} [dim]({time.monotonic() - started:.1f} s)[/dim]")


class EngineProgress:
    """Turns the engine's events into one moving line: how many resources are done, and which one is at work."""

    def __init__(self, shown: Step, expected: int = 0) -> None:
        self._shown = shown
        self._expected = expected
        self._done = 0

    def __call__(self, event: Event) -> None:
        if "resourcePreEvent" in event:
            metadata = event["resourcePreEvent"]["metadata"]
            if metadata["op"] != "same":
                self._tell(f"{metadata['op']} {_short(metadata['urn'])}")
        elif "resOutputsEvent" in event:
            self._done += 1
            self._tell(_short(event["resOutputsEvent"]["metadata"]["urn"]))

    def _tell(self, detail: str) -> None:
        self._shown.show(detail, self._done, max(self._expected, self._done) if self._expected else 0)


def _short(urn: str) -> str:
    """`bucket datasets` of a URN: the last part of its type, and its name."""
    qualified_type, _, name = urn.split("::", 2)[-1].rpartition("::")
    return f"{qualified_type.rsplit(':', 1)[-1]} {name}"


def table(title: str, rows: list[tuple[str, str]]) -> Table:
    """Two columns, what and how much."""
    made = Table(title=title, show_header=False, title_justify="left", title_style="bold")
    made.add_column(style="cyan")
    made.add_column(overflow="fold")  # a path that is cut leads nowhere
    for row in rows:
        made.add_row(*row)
    return made
