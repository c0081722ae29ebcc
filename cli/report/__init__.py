"""`trainyard report RUN`: a run as one page, with plots: losses, speed, where the time went, what happened."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="run.directory of the run, finished or not.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Default: report.html in the run's directory.")
    ] = None,
) -> None:
    """Write a page about a run: one HTML file that needs nothing beside it, readable while the run goes on."""
    from trainer.errors import UserError

    from trainyard.cli.progress import console
    from trainyard.cli.report.page import render
    from trainyard.cli.report.record import read

    target = out or run / "report.html"
    page = render(read(run), time.time())
    temporary = target.with_name(f"{target.name}.new")
    try:
        temporary.write_text(page, encoding="utf-8", errors="replace")  # half a character, in what a run was told
        temporary.replace(target)  # somebody may be looking at the last one
    except OSError as error:
        raise UserError(f"{target}: can't be written: {error.strerror}; name another place with --out") from None
    console.print(f"wrote {target}", soft_wrap=True)
