"""A checkpoint as a folder that Hugging Face's `transformers` loads, with the tokenizer it was trained with."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.distributed.checkpoint as dcp
import yaml
from pydantic import ValidationError
from torch import Tensor
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from trainer import catalog, hugging_face
from trainer.config import Config
from trainer.encode import END_OF_TEXT
from trainer.errors import UserError
from trainer.manifest import CheckpointManifest, UnsoundCheckpointError
from trainer.shards import TOKENIZER, Manifest
from trainer.storage import Storage, open_storage

Which = Literal["trained", "average"]
_PREFIXES: dict[Which, str] = {"trained": "model/", "average": "average/"}
_THREADS = 8


@dataclass(frozen=True)
class Exported:
    checkpoint: str
    """URI of what was exported."""
    step: int
    which: Which
    parameters: int
    tokenizer: bool
    """Whether one is in the folder."""


def export(
    uri: str,
    folder: Path,
    step: int | None = None,
    which: Which | None = None,
    data: str | None = None,
    shard_bytes: int = hugging_face.SHARD_BYTES,
    told: Callable[[str, int, int], None] = lambda _what, _done, _total: None,
) -> Exported:
    """Writes `folder`, whole or not at all.

    Args:
        uri: a run's directory, its `checkpoint.uri`, or the folder of one checkpoint in that.
        step: which checkpoint; None for the newest finished one.
        which: the weights as trained, or their moving average; None for the average if there is one.
        data: the token data set, if it lies elsewhere by now than the run found it.
        told: hears of each file read: what, how many, of how many.

    Raises UserError for what is not there, not whole, or not of one another.
    """
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: is there already and not empty; name a new folder")
    with _told_by_name(folder):  # before the work, not after it
        folder.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder.parent).close()
    storage, name, manifest = _find(uri, step)
    config = _config(storage.uri_of(name), manifest)
    data_set, data_manifest = _data_set(config, manifest, data)
    with _files(storage, name, manifest, told) as files:
        which, weights = _read(storage.uri_of(name), files, which)
    tokens, end_of_text = data_manifest.vocab_size, data_manifest.end_of_text
    with _told_by_name(folder), tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as beside:
        unfinished = Path(beside) / folder.name
        unfinished.mkdir()
        hugging_face.write_weights(unfinished, weights, config.model, tokens, shard_bytes)
        special = {"bos_token_id": end_of_text, "eos_token_id": end_of_text}
        hugging_face.write_json(unfinished / "generation_config.json", special)
        hugging_face.write_json(
            unfinished / hugging_face.CONFIG, hugging_face.settings(config.model, tokens, end_of_text)
        )
        tokenizer = _copy_tokenizer(data_set, unfinished, config.model.context)
        if folder.exists():
            folder.rmdir()
        unfinished.rename(folder)
    count = sum(tensor.numel() for tensor in weights.values())
    return Exported(storage.uri_of(name), manifest.step, which, count, tokenizer)


@contextmanager
def _told_by_name(folder: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{folder}: can't be written: {error.strerror}; name another folder") from None


def _find(uri: str, step: int | None) -> tuple[Storage, str, CheckpointManifest]:
    """The checkpoint meant: its place, its name there, its manifest."""
    settings = Path(uri) / "config.yaml"
    if "://" not in uri and settings.is_file():  # a run's directory
        uri = _checkpoints_of(settings)
    place, _, last = uri.rstrip("/").rpartition("/")
    if step is None and last.startswith("step-") and last[5:].isdecimal():
        uri, step = place or ".", int(last[5:])
    storage = open_storage(uri)
    entries = catalog.entries(storage)
    finished = [number for number, entry in entries.items() if entry.finished]
    if not finished:
        raise UserError(f"{uri}: no finished checkpoint there; expected a run's directory, or its checkpoint.uri")
    chosen = max(finished) if step is None else step
    if chosen not in finished:
        nearest = sorted(sorted(finished, key=lambda there: abs(there - chosen))[:4])
        raise UserError(f"{uri}: no finished checkpoint of step {chosen}; there are {', '.join(map(str, nearest))}")
    name = entries[chosen].name
    try:
        return storage, name, catalog.read_manifest(storage, name)
    except UnsoundCheckpointError as reason:
        raise UserError(f"{storage.uri_of(name)}: {reason}") from None


def _checkpoints_of(settings: Path) -> str:
    """Where the run with these settings keeps its checkpoints."""
    try:
        return str(yaml.safe_load(settings.read_text())["checkpoint"]["uri"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError, yaml.YAMLError):
        raise UserError(
            f"{settings}: names no checkpoint.uri; give that place instead of the run's directory"
        ) from None


def _config(uri: str, manifest: CheckpointManifest) -> Config:
    try:
        return Config.model_validate(manifest.config)
    except ValidationError as error:
        raise UserError(f"{uri}: its settings are not of this trainer: {error.errors()[0]['msg']}") from None


def _data_set(config: Config, manifest: CheckpointManifest, data: str | None) -> tuple[Storage, Manifest]:
    """What the model was trained on: it says how many tokens there are, and holds the tokenizer."""
    storage = open_storage(data or config.data.uri)
    try:
        found = Manifest.load(storage)
    except UserError as error:
        raise UserError(f"{error}. Say where the run's token data set lies now (--data)") from None
    if found.hash != manifest.data_sha256:
        raise UserError(
            f"{storage.uri}: is not the data set that this model was trained on; say where that is (--data)"
        )
    return storage, found


@contextmanager
def _files(
    storage: Storage, name: str, manifest: CheckpointManifest, told: Callable[[str, int, int], None]
) -> Generator[Path]:
    """A local folder with the checkpoint's files, each as its manifest says."""
    total = len(manifest.files)
    in_place = storage.local_path(name)
    with tempfile.TemporaryDirectory(prefix="export.") as fetched:
        folder = in_place or Path(fetched)
        done = 0
        problems = []
        if in_place is not None:

            def read(_: object) -> None:
                nonlocal done
                done += 1
                told("verify", done, total)

            problems = catalog.problems(storage, name, manifest.files, _THREADS, read)
        else:
            for number, record in enumerate(manifest.files, start=1):
                try:
                    if storage.fetch(f"{name}/{record.name}", folder / record.name) != record.sha256:
                        problems.append(f"the SHA-256 of {record.name} differs")
                except FileNotFoundError:
                    problems.append(f"{record.name} is missing")
                told("fetch", number, total)
        if problems:
            raise UserError(f"{storage.uri_of(name)}: is damaged: {'; '.join(problems)}. Take another step")
        yield folder


def _read(uri: str, folder: Path, which: Which | None) -> tuple[Which, dict[str, Tensor]]:
    """The weights by the names of the decoder, whole, on the CPU."""
    present = FileSystemReader(folder).read_metadata().state_dict_metadata
    if which is None:
        which = "average" if any(name.startswith(_PREFIXES["average"]) for name in present) else "trained"
    prefix = _PREFIXES[which]
    tensors = {
        name: torch.empty(entry.size, dtype=entry.properties.dtype)
        for name, entry in present.items()
        if name.startswith(prefix) and isinstance(entry, TensorStorageMetadata)
    }
    if not tensors:
        raise UserError(
            f"{uri}: holds no averaged weights (the run had no optimizer.ema_decay); export the trained ones"
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        dcp.load(tensors, storage_reader=FileSystemReader(folder), no_dist=True)
    return which, {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def _copy_tokenizer(data_set: Storage, folder: Path, context: int) -> bool:
    if not data_set.exists(TOKENIZER):
        return False
    data_set.download(TOKENIZER, folder / "tokenizer.json")
    shutil.copymode(folder / hugging_face.CONFIG, folder / "tokenizer.json")
    special = {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT}
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": context, **special}
    hugging_face.write_json(folder / "tokenizer_config.json", about)
    return True
