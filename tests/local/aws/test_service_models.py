"""Service models kept on disk: the same clients come of them, and none that is out of date."""

from __future__ import annotations

import errno
import gzip
import json
import marshal
import os
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import loaders

from trainyard.local.aws import service_models


@pytest.fixture
def botocores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model file where botocore's own lie; the cache is beside it."""
    monkeypatch.setattr(loaders.Loader, "BUILTIN_DATA_PATH", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "service-2"


def _write(file: Path, documentation: str) -> None:
    model = {"shapes": {"B": {"documentation": documentation}, "A": {"documentation": {"shape": "B"}}}}
    Path(f"{file}.json.gz").write_bytes(gzip.compress(json.dumps(model).encode()))


def test_prose_goes_and_members_stay_in_their_order(botocores: Path, tmp_path: Path) -> None:
    _write(botocores, "What B is for.")
    for _ in range(2):  # read, and then from the cache
        found = service_models.KeptLoader(tmp_path / "cache").load_file(str(botocores))
        assert list(found["shapes"].items()) == [
            ("B", {"documentation": ""}),
            ("A", {"documentation": {"shape": "B"}}),
        ]
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_another_file_of_the_same_name_is_read_anew(botocores: Path, tmp_path: Path) -> None:
    loader = service_models.KeptLoader(tmp_path / "cache")
    _write(botocores, "")
    assert "C" not in loader.load_file(str(botocores))["shapes"]
    Path(f"{botocores}.json.gz").write_bytes(gzip.compress(json.dumps({"shapes": {"C": {}}}).encode()))
    assert list(loader.load_file(str(botocores))["shapes"]) == ["C"]


@pytest.mark.parametrize("damage", [b"", b"{", b"i\x01"])
def test_a_damaged_or_unwritable_cache_is_no_error(botocores: Path, tmp_path: Path, damage: bytes) -> None:
    _write(botocores, "")
    loader = service_models.KeptLoader(tmp_path / "cache")
    whole = loader.load_file(str(botocores))
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_bytes(damage)
    assert loader.load_file(str(botocores)) == whole
    (tmp_path / "file").touch()
    assert service_models.KeptLoader(tmp_path / "file" / "cache").load_file(str(botocores)) == whole


def test_a_cache_that_reads_as_another_model_is_not_taken_for_this_one(botocores: Path, tmp_path: Path) -> None:
    _write(botocores, "")
    loader = service_models.KeptLoader(tmp_path / "cache")
    whole = loader.load_file(str(botocores))
    (kept,) = (tmp_path / "cache").iterdir()
    written = kept.read_bytes()
    for damage in (written.replace(b"B", b"C"), marshal.dumps(None), marshal.dumps({}), b"[\xff\xff\xff\x7f"):
        kept.write_bytes(damage)
        assert loader.load_file(str(botocores)) == whole
        assert kept.read_bytes() == written


def test_a_full_disk_keeps_no_pieces(botocores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(botocores, "")

    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    loader = service_models.KeptLoader(tmp_path / "cache")
    assert loader.load_file(str(botocores)) == loader.load_file(str(botocores))
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_is_not_botocores_own_is_left_as_it_is(botocores: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    _write(elsewhere, "A user's own.")
    found = service_models.KeptLoader(tmp_path / "cache").load_file(str(elsewhere))
    assert found["shapes"]["B"]["documentation"] == "A user's own."
    assert service_models.KeptLoader(tmp_path / "cache").load_file(str(tmp_path / "nothing")) is None


@pytest.mark.parametrize("service", ["ec2", "eks", "iam", "s3"])
def test_clients_are_the_same(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def described() -> list[tuple[Any, ...]]:
        client = boto3.Session().client(service, "us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
        operations = map(client.meta.service_model.operation_model, client.meta.service_model.operation_names)
        return [
            (one.name, *(list(getattr(shape, "members", {})) for shape in (one.input_shape, one.output_shape)))
            for one in operations
        ]

    monkeypatch.setattr(loaders.Loader, "FILE_LOADER_CLASS", loaders.JSONFileLoader)
    as_botocore_reads = described()
    service_models.keep()
    assert described() == as_botocore_reads
