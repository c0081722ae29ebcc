"""Temporary folders go with their process, or with the next run at the latest, and never while somebody works there."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from trainyard.local import scratch

HOLDER = """
import sys, time
from trainyard.local import scratch
with scratch.folder("test") as place:
    print(place, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


@pytest.fixture
def holder():
    process = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process, Path(process.stdout.readline().strip())
    process.kill()
    process.wait()


def test_a_folder_goes_with_its_block(temporary):
    with scratch.folder("test") as place:
        assert place.parent == temporary
        assert scratch.left_behind("test") == []
    assert not place.exists()


def test_the_folder_of_a_living_process_is_not_left_behind_and_that_of_a_killed_one_is(holder):
    process, place = holder
    (place / "file").touch()
    assert scratch.left_behind("test") == []
    process.kill()
    process.wait()
    assert scratch.left_behind("test") == [place]
    assert scratch.left_behind("other") == []


def test_a_folder_that_somebody_holds_is_not_left_behind_whatever_its_name_says(temporary):
    """A process in a container has other ids, and works in the same temporary folder."""
    with scratch.folder("test") as place:
        renamed = place.rename(temporary / "trainyard-test-4194305.1-abcdefgh")
        assert scratch.left_behind("test") == []
    assert scratch.left_behind("test") == [renamed]


def test_a_process_id_that_was_given_again_protects_nothing(temporary):
    old = temporary / f"trainyard-test-{os.getpid()}.1-abcdefgh"
    old.mkdir()
    assert scratch.left_behind("test") == [old]


def test_links_and_other_names_are_left_alone(temporary):
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (temporary / "trainyard-test-4194305.1-abcdefgh").symlink_to(elsewhere)
    (temporary / "trainyard-test-mine").mkdir()
    (temporary / "trainyard-test-4194305.1-filefile").touch()
    assert scratch.left_behind("test") == []


def test_a_relative_temporary_folder_leads_to_the_same_place_from_everywhere(temporary, monkeypatch):
    monkeypatch.chdir(temporary)
    monkeypatch.setattr(tempfile, "tempdir", ".")
    with scratch.folder("test") as place:
        assert place.is_absolute()


def test_without_any_temporary_folder_there_is_a_sentence(temporary, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "none"))
    with pytest.raises(scratch.NoScratchError, match="TMPDIR names the place"), scratch.folder("test"):
        pass
