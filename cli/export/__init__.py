"""`trainyard export RUN_OR_URI FOLDER`: a checkpoint as a folder that Hugging Face's `transformers` loads."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from trainyard.cli import output
from trainyard.cli.progress import console, step


class Weights(Enum):
    TRAINED = "trained"
    AVERAGE = "average"


def export(
    uri: Annotated[
        str,
        typer.Argument(metavar="RUN_OR_URI", help="A run's directory, its checkpoint.uri, or one checkpoint in it."),
    ],
    folder: Annotated[Path, typer.Argument(help="To be written; not there yet, or empty.")],
    of_step: Annotated[
        int | None, typer.Option("--step", min=0, help="Which checkpoint; the newest finished one if not said.")
    ] = None,
    weights: Annotated[
        Weights | None,
        typer.Option(help="As trained, or their moving average; the average if not said and there is one."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="URI", help="The run's token data set, if it has moved since.")
    ] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print JSON on standard output, and nothing else.")
    ] = False,
) -> None:
    """Write config.json, model.safetensors and the tokenizer, to be loaded with `AutoModelForCausalLM`."""
    from trainer.export import export as write  # torch takes seconds to import

    with step(f"export {uri}") as shown:
        done = write(uri, folder, of_step, weights.value if weights else None, data, told=shown.show)
    if json_output:
        output.tell({**asdict(done), "folder": str(folder)})
        return
    console.print(
        f"{folder}: step {done.step}, {done.which} weights, {done.parameters:,} parameters, "
        f"{'with' if done.tokenizer else 'without'} tokenizer"
    )
