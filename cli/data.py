"""`trainyard data …`: turn text into token shards where the trainer reads them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from trainyard.cli import output
from trainyard.cli.progress import Step, console, step

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """A group, although it has one command so far."""


@app.command()
def prepare(
    source: Annotated[
        str | None,
        typer.Argument(help="A folder, a file or an s3:// prefix; by default this Python's standard library."),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(help="A folder or s3:// prefix; by default the datasets bucket of the rehearsal that is up."),
    ] = None,
    vocab_size: Annotated[int, typer.Option(help="Tokens of the byte-level BPE vocabulary.")] = 4096,
    shard_tokens: Annotated[int, typer.Option(help="Tokens in a shard.")] = 1 << 25,
    val_fraction: Annotated[float, typer.Option(help="Share of the text held out for evaluation.")] = 0.05,
    seed: Annotated[int, typer.Option(help="Of the choice of what is held out.")] = 0,
    include: Annotated[list[str] | None, typer.Option(help="Glob of files to take; may be given again.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a data set that stands there.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print the manifest on standard output.")] = False,
) -> None:
    """Make token shards, a tokenizer and a manifest of text, held-out split included, and upload them."""
    from trainer.prepare import prepare as run
    from trainer.prepare import summary

    with _destination(source, to) as uri, step(f"{source or 'Python standard library'} → {uri}") as shown:
        manifest = run(
            source,
            uri,
            vocab_size=vocab_size,
            shard_tokens=shard_tokens,
            val_fraction=val_fraction,
            seed=seed,
            include=include or (),
            overwrite=overwrite,
            progress=told(shown),
        )
    if json_output:
        output.tell(manifest.model_dump(mode="json"))
        return
    console.print(summary(manifest, uri))


def told(shown: Step):
    """A preparation's progress, on a line of ours."""
    return lambda progress: shown.show(f"{progress.stage} ({progress.unit})", progress.done, progress.total)


@contextmanager
def _destination(source: str | None, to: str | None) -> Generator[str]:
    """Where to: what was asked for, else the rehearsed platform's own bucket, reached for as long as the block runs."""
    if to is not None:
        yield to
        return
    from trainyard.local import isolation
    from trainyard.local.rehearsal import Rehearsal

    rehearsal = Rehearsal()
    if not rehearsal.status().running:
        raise typer.BadParameter("no rehearsal is up whose bucket could be meant; name a place with --to")
    name = Path(source).resolve().name if source else "python-stdlib"
    with isolation.only(rehearsal.aws_environment()):
        yield f"s3://{rehearsal.outputs()['datasets_bucket']}/{name}"
