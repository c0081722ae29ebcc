"""`trainyard …`: what an ML engineer, a platform engineer or a reviewer types.

Exit status: 0 done, 1 it ran and the answer is no (a policy was violated, training failed), 2 the user's mistake,
3 the engine or a service failed, 130 interrupted, 141 nobody reads the output any more; `train` adds 75 and 76, both
for "start it again".
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import traceback

import typer

from trainyard.cli import data, demo, local, output, policies
from trainyard.cli.bootstrap import bootstrap
from trainyard.cli.checkpoint import app as checkpoint
from trainyard.cli.doctor import doctor
from trainyard.cli.export import export
from trainyard.cli.preview import failure, preview
from trainyard.cli.report import report
from trainyard.cli.review import review
from trainyard.cli.simulate import simulate
from trainyard.cli.train import CONTEXT, train

INTERRUPTED = 130
READER_GONE = 141
"""What a shell gives where SIGPIPE ended a program: `… | head` had enough. It is no answer, and so not 1."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A team's own GPU training platform on AWS, rehearsed on one machine without an account.",
)
app.add_typer(local.app, name="local", help="The rehearsal: the platform in an emulated account on this machine.")
app.add_typer(data.app, name="data", help="Training data: text to token shards.")
app.add_typer(checkpoint, name="checkpoint", help="What a run has saved: look, verify, tidy up.")
app.add_typer(policies.app, name="policies", help="The rules that every environment is judged by.")
app.command("preview")(preview)
app.command("review")(review)
app.command("doctor")(doctor)
app.command("bootstrap")(bootstrap)
app.command("demo")(demo.demo)
app.command("train", context_settings=CONTEXT)(train)
app.command("report")(report)
app.command("simulate")(simulate)
app.command("export")(export)


def main() -> None:
    """Run the command line, and turn what goes wrong into a message and an exit status."""
    output.open_standard_streams()
    for asked_to_end in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(asked_to_end, signal.default_int_handler)  # as after Ctrl-C: what runs is ended in good order
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # whatever characters the terminal has
    output.begin()
    status, message = _run()
    if message:
        output.complain(message)
    if status in (1, 2, 3) and output.is_wanted(sys.argv[1:]) and not output.is_told():
        output.tell(failure(status) if sys.argv[1] == "preview" else {"error": message or "see standard error"})
    sys.exit(status)


def _run() -> tuple[int, str]:
    """Exit status, and what is left to say."""
    try:
        app()
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):
            return READER_GONE, ""
        if isinstance(ended.code, int):
            return ended.code, "interrupted" if ended.code == INTERRUPTED else ""
        return (1, ended.code) if ended.code else (0, "")
    except KeyboardInterrupt:
        return INTERRUPTED, "interrupted"
    except Exception as failed:  # noqa: BLE001  # the last resort: a bug, told as one
        status = _status_of(failed)
        if status is not None:
            return status, f"error: {failed}"
        if os.environ.get("TRAINYARD_TRACEBACK"):
            traceback.print_exc()
        where = traceback.extract_tb(failed.__traceback__)[-1]
        return 3, (
            f"error: a bug in Trainyard: {type(failed).__name__}: {failed} ({where.filename}:{where.lineno}); "
            "TRAINYARD_TRACEBACK=1 shows how it came to it"
        )
    return 0, ""


def _status_of(failed: Exception) -> int | None:
    """Exit status of an error that was foreseen; None for a bug."""
    from trainer.errors import TrainingError, UserError

    from trainyard.local.engine import EngineError
    from trainyard.local.paths import NotACheckoutError
    from trainyard.local.rehearsal import BusyError, NoEnvironmentError, NotRunningError
    from trainyard.local.supervisor import ServiceError
    from trainyard.local.toolchain import ToolError

    if isinstance(failed, UserError):
        return 2
    if isinstance(failed, TrainingError):
        return 1
    if isinstance(failed, EngineError):
        return 1 if failed.result.mandatory else 3
    if isinstance(failed, (ServiceError, ToolError)):
        return 3
    if isinstance(failed, (NotACheckoutError, NoEnvironmentError, BusyError, NotRunningError)):
        return 2
    if isinstance(failed, OSError) and failed.errno in (errno.EACCES, errno.ENOTDIR, errno.EROFS, errno.ENOSPC):
        return 2
    return getattr(failed, "exit_status", 3 if isinstance(failed, OSError) else None)


if __name__ == "__main__":
    main()
