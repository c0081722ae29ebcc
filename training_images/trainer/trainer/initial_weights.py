"""`model.initialize_from`: a new run begins with weights that Hugging Face's `transformers` has written."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.distributed.tensor import DTensor, distribute_tensor

from trainer.config import Config
from trainer.errors import UserError
from trainer.gang import Gang
from trainer.hugging_face import CONFIG, INDEX, WEIGHTS, Weights, differences
from trainer.state import TrainingState
from trainer.storage import open_storage

_FOLDER = "initial-weights"
"""In the run's directory, on each node: where weights from a bucket are fetched to."""


@torch.no_grad()
def load_initial_weights(state: TrainingState, config: Config, gang: Gang) -> None:
    """Puts the weights that `model.initialize_from` names into `state`, averages included. Called by all ranks.

    Each rank reads one tensor at a time and keeps its part of it. Raises UserError, on every rank, naming each tensor
    and setting that does not fit.
    """
    uri = config.model.initialize_from
    assert uri is not None
    gang.together(lambda: _fetch(uri, config) if gang.local_rank == 0 else None)
    gang.together(lambda: _load(_place(uri, config), uri, state))


def _load(folder: Path, uri: str, state: TrainingState) -> None:
    decoder = state.model.decoder
    shape, vocabulary_size = decoder.shape, decoder.vocabulary_size
    parameters = dict(state.model.named_parameters())
    problems = differences(folder, shape)
    with Weights(folder) as weights:
        sizes = {name: parameter.shape for name, parameter in parameters.items()}
        problems = problems or weights.problems(sizes, shape, vocabulary_size)
        if problems:
            lines = "\n".join(f"  {problem}" for problem in problems)
            raise UserError(
                f"model.initialize_from {uri}: these weights are of another model than the one set up here "
                f"(vocabulary of the data set: {vocabulary_size}):\n{lines}"
            )
        for name, parameter in parameters.items():
            whole = weights.read(name, parameter.shape, shape, vocabulary_size)
            if isinstance(parameter, DTensor):
                whole = whole.to(parameter.device)
                # Every rank has read the same: nothing needs to be sent.
                parameter.copy_(
                    distribute_tensor(whole, parameter.device_mesh, parameter.placements, src_data_rank=None)
                )
            else:
                parameter.copy_(whole)
            if state.average is not None:
                state.average.averages[name].copy_(parameter)


def _place(uri: str, config: Config) -> Path:
    in_place = open_storage(uri).local_path(CONFIG)
    return in_place.parent if in_place is not None else config.run.directory.absolute() / _FOLDER


def _fetch(uri: str, config: Config) -> None:
    """From a bucket to this node's disk; a folder is read where it is."""
    storage = open_storage(uri)
    if storage.local_path(CONFIG) is not None:
        return
    folder = _place(uri, config)
    files = [
        key for key in storage.list() if "/" not in key and (key in (CONFIG, INDEX) or key.endswith(".safetensors"))
    ]
    if CONFIG not in files or not {WEIGHTS, INDEX} & set(files):
        raise UserError(f"model.initialize_from {uri}: no Hugging Face weights there ({CONFIG}, {WEIGHTS})")
    for file in files:
        storage.download(file, folder / file)
