"""AWS's service models as botocore loads them, kept on disk as they are once read.

The emulated account and the provider each read the models of twenty services, some of them megabytes of compressed JSON
and most of that prose. What is kept has no prose, and loads in a tenth of the time. A file of botocore's that is not as
it was when it was kept is read anew.

    service_models.keep()  # once per process, before it makes clients
"""

from __future__ import annotations

import hashlib
import marshal
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import botocore
from botocore import loaders

from trainyard.local.paths import NoCacheError, cache_directory

_DIGEST_BYTES = 16
_Open = Callable[[str, str], Any]


class KeptLoader(loaders.JSONFileLoader):
    """botocore's loader of model files, with a cache in `folder`.

    Of files within botocore's own folder only: what a user keeps elsewhere is read as it is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _load_file(self, full_path: str, open_method: _Open) -> Any:
        kept = self._place(full_path) if full_path.startswith(loaders.Loader.BUILTIN_DATA_PATH) else None
        if kept is None:
            return super()._load_file(full_path, open_method)
        with suppress(OSError):
            written = kept.read_bytes()
            content = memoryview(written)[_DIGEST_BYTES:]
            if _digest(content) == written[:_DIGEST_BYTES]:
                return marshal.loads(content)  # noqa: S302  # written below, in the user's own cache
        model = _without_prose(super()._load_file(full_path, open_method))
        content = marshal.dumps(model)
        _write(kept, _digest(content) + content)
        return model

    def _place(self, full_path: str) -> Path | None:
        """Where the model in `full_path` is kept: named after the very file it was read from. None where there is no
        such file."""
        try:
            found = Path(full_path).stat()
        except OSError:
            return None
        origin = f"{full_path} {found.st_size} {found.st_mtime_ns}"
        return self._folder / f"{hashlib.sha256(origin.encode()).hexdigest()[:32]}.model"


def keep() -> None:
    """Have all of botocore's loaders in this process keep what they read, where there is a cache for it."""
    with suppress(NoCacheError):
        folder = cache_directory() / "service-models" / _cache_key()
        loaders.Loader.FILE_LOADER_CLASS = partial(KeptLoader, folder)  # ty: ignore[invalid-assignment]


@cache
def _cache_key() -> str:
    """Of botocore, of this module and of the form that Python writes."""
    mine = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    return f"botocore-{botocore.__version__}-{mine}-{marshal.version}"


def _digest(content: bytes | memoryview) -> bytes:
    """A file that a full disk or a crash has damaged may still read as a model, and not as the right one."""
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()


def _without_prose(model: Any) -> Any:
    """The model in plain dicts, its documentation empty: nothing here shows it, and botocore asks that it be there."""
    if isinstance(model, dict):
        return {
            key: "" if key == "documentation" and isinstance(value, str) else _without_prose(value)
            for key, value in model.items()
        }
    if isinstance(model, list):
        return [_without_prose(item) for item in model]
    return model


def _write(path: Path, content: bytes) -> None:
    """Several processes may write a file at once, so whole files only; a cache that can't be written is no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent)
    except OSError:
        return
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).replace(path)
    except OSError:
        with suppress(OSError):
            Path(temporary).unlink()
