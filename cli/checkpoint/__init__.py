"""`trainyard checkpoint …`: what a run has saved, whether it is whole, and what of it may go.

A place is what `checkpoint.uri` says, or the folder of one checkpoint in it: `s3://bucket/runs/a`,
`s3://bucket/runs/a/step-00000500`, `/lustre/runs/a`.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated

import typer
from trainer.errors import UserError

from trainyard.cli import output
from trainyard.cli.checkpoint import tables
from trainyard.cli.checkpoint.place import Place
from trainyard.cli.progress import console, step

app = typer.Typer(no_args_is_help=True)

Uri = Annotated[str, typer.Argument(metavar="PLACE", help="checkpoint.uri of the run, or one checkpoint's folder.")]
OfStep = Annotated[int | None, typer.Option("--step", min=0, help="Which one; the newest finished one if not said.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, and nothing else.")]
Rehearsal = Annotated[bool, typer.Option("--rehearsal", help="In the emulated account of the rehearsal that is up.")]
Threads = Annotated[int, typer.Option(min=1, max=64, help="Files read at a time.")]


@app.command("list")
def list_checkpoints(uri: Uri, rehearsal: Rehearsal = False, json_output: Json = False) -> None:
    """All checkpoints in a place, unfinished ones too, oldest first."""
    with _account(rehearsal):
        place = Place.at(uri)
        lines, run = place.lines(), place.used_by()
    if json_output:
        output.tell({"place": place.uri, "used_by": run, "checkpoints": [line.to_json() for line in lines]})
        return
    console.print(tables.listing(place.uri, lines, run))


@app.command()
def inspect(uri: Uri, of_step: OfStep = None, rehearsal: Rehearsal = False, json_output: Json = False) -> None:
    """What one checkpoint says of itself: where the run stood, what saved it, with which settings."""
    with _account(rehearsal):
        place = Place.at(uri)
        name, manifest = place.manifest(of_step)
    if json_output:
        output.tell({"uri": place.storage.uri_of(name), **manifest.model_dump(mode="json")})
        return
    tables.show_manifest(console, place.storage.uri_of(name), manifest)


@app.command()
def verify(
    uri: Uri,
    of_step: OfStep = None,
    every: Annotated[bool, typer.Option("--all", help="Every checkpoint there.")] = False,
    threads: Threads = 8,
    rehearsal: Rehearsal = False,
    json_output: Json = False,
) -> None:
    """Read every byte and compare it with the manifest. Exit status 1 if a checkpoint is not whole."""
    verdicts = []
    with _account(rehearsal):
        place = Place.at(uri)
        for name in place.names(of_step, every):
            with step(f"verify {name}") as shown:
                verdicts.append(place.verify(name, threads, lambda done, total, s=shown: s.show("MB", done, total)))
    if json_output:
        output.tell({"place": place.uri, "checkpoints": [verdict.to_json() for verdict in verdicts]})
    else:
        console.print(tables.verdicts(place.uri, verdicts))
        if newer := place.unfinished_since(verdicts[-1].name):
            console.print(f"newer, and not finished: {', '.join(newer)}")
    raise typer.Exit(0 if all(verdict.sound for verdict in verdicts) else 1)


@app.command()
def prune(
    uri: Uri,
    keep_last: Annotated[int, typer.Option(min=1, help="So many of the newest stay.")] = 3,
    keep_every: Annotated[
        int | None, typer.Option(min=1, help="The first at or after each multiple of this stays too.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete. Without it, only say what would go.")] = False,
    rehearsal: Rehearsal = False,
    json_output: Json = False,
) -> None:
    """Delete older checkpoints, and what is left of saves that were never finished.

    Unfinished ones newer than the newest finished one stay: a run may be about to finish them.
    """
    with _account(rehearsal):
        place = Place.at(uri)
        gone = place.outdated(keep_last, keep_every)
        if yes and (run := place.used_by()):
            raise UserError(
                f"{place.uri}: a run is using it and deletes by itself what is not to be kept: {run}. "
                "Wait for its end, or set its checkpoint.keep_last"
            )
        if yes:
            for entry in gone:
                with step(f"delete {entry.name}"):
                    place.delete(entry)
    said = {"place": place.uri, "deleted": yes, "checkpoints": [entry.name for entry in gone]}
    if json_output:
        output.tell({**said, "bytes": sum(entry.bytes for entry in gone)})
    else:
        console.print(tables.pruned(place.uri, gone, deleted=yes))


@contextmanager
def _account(rehearsal: bool) -> Generator[None]:
    """Inside the block AWS is what the environment says, or the rehearsal's account."""
    if not rehearsal:
        yield
        return
    from trainyard.local import isolation
    from trainyard.local.rehearsal import NotRunningError, Rehearsal

    found = Rehearsal()
    if not found.status().running:
        raise NotRunningError("no rehearsal is up; start one with `trainyard local up`")
    with isolation.only(found.aws_environment()):
        yield
