"""Assets and archives of a program as bytes: what `pulumi.FileAsset`, `StringAsset` and `FileArchive` stand for.

    contents({"4dabf1…": "c44067…", "text": "hello"})     b"hello"

An archive becomes a zip file whose bytes depend on names and contents alone. Paths are relative to the program, whose
folder is the plugin's working directory. Raises `ProviderError` for what is neither there nor supported.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pulumi.runtime import rpc

from trainyard.local.aws.errors import ProviderError

_SIGNATURE = rpc._special_sig_key
_ASSET, _ARCHIVE = rpc._special_asset_sig, rpc._special_archive_sig
_MOMENT = (1980, 1, 1, 0, 0, 0)
"""The time of every file in an archive; zip knows none earlier."""


def contents(value: Mapping[str, Any]) -> bytes:
    """The bytes of an asset, or the zip file that an archive is."""
    if value.get(_SIGNATURE) == _ARCHIVE:
        return _zipped(value)
    if "text" in value:
        return str(value["text"]).encode()
    if "path" in value:
        return _read(Path(value["path"]))
    raise ProviderError("an asset from a remote address is not emulated; give a file or text")


def _zipped(archive: Mapping[str, Any]) -> bytes:
    if "path" in archive and Path(archive["path"]).is_file():
        return _read(Path(archive["path"]))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in sorted(_members(archive)):
            file.writestr(zipfile.ZipInfo(name, _MOMENT), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _members(archive: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """The files in an archive: those of a folder, or assets and further archives by name."""
    if "path" in archive:
        folder = Path(archive["path"])
        if not folder.is_dir():
            raise ProviderError(f"there is no file or folder {folder} for the archive")
        for path in folder.rglob("*"):
            if path.is_file():
                yield path.relative_to(folder).as_posix(), path.read_bytes()
        return
    if "assets" not in archive:
        raise ProviderError("an archive from a remote address is not emulated; give a folder, a file or assets")
    for name, member in archive["assets"].items():
        if member.get(_SIGNATURE) == _ARCHIVE:
            for inner, data in _members(member):
                yield f"{name}/{inner}", data
        else:
            yield name, contents(member)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ProviderError(f"the asset {path} cannot be read: {error.strerror}") from None
