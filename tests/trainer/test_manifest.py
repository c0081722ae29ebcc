"""Whatever stands where a manifest should: it is one, or it is refused in words; it never leads anywhere else."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from small_training import SmallTraining
from trainer import catalog
from trainer.manifest import MANIFEST, CheckpointManifest, Costs, UnsoundCheckpointError, hash_of
from trainer.storage import Storage, open_storage
from trainer.storage_local import LocalStorage

FAST = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

GOOD: dict[str, Any] = {
    "format_version": 2,
    "run_id": "a",
    "ending": "interval",
    "history": {"seconds_trained": 1.5, "failures": 0},
    "code_revision": None,
    "progress": {"step": 1},
    "scaler": None,
    "world_size": 1,
    "strategy": "none",
    "device": "cpu",
    "data_sha256": "0",
    "essentials": {},
    "config": {},
    "config_sha256": "0",
    "versions": {},
    "saved_at": "2026-11-21T14:00:00+00:00",
    "files": [{"name": "__0_0.distcp", "bytes": 3, "sha256": "0" * 64}],
}

SECRET = b"of somebody else"

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**300, max_value=10**400)
    | st.floats()
    | st.text()
    | st.sampled_from(
        ["../secret", "/etc/passwd", "a/../../secret", "\0", ".", "..", "", "a/b", "x.writing", "\ud800"]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
names = st.text(max_size=12) | st.sampled_from(
    [
        "../secret",
        "../../secret",
        "/etc/passwd",
        "a/../../secret",
        "step-00000001/../../secret",
        ".",
        "..",
        "",
        "~",
        "a//b",
        "a/b",
        "a\\b",
        "%2e%2e/secret",
        "x.writing",
        "\0",
        "a\0b",
        "\ud800",
        "n" * 5000,
        MANIFEST,
    ]
)
sizes = st.integers(0, 10) | st.integers() | st.sampled_from([2**63 - 1, 2**63, 10**30])
records = st.fixed_dictionaries({"name": names, "bytes": sizes, "sha256": st.just("0" * 64) | st.text()})


def sealed(content: Any) -> bytes:
    """As an adversary would, who knows how the hash is made."""
    return json.dumps({**content, "manifest_sha256": hash_of(content)}).encode()


def read(data: bytes) -> CheckpointManifest | None:
    try:
        return CheckpointManifest.from_json(data)
    except UnsoundCheckpointError:
        return None


@FAST
@given(st.binary() | values.map(lambda value: json.dumps(value).encode()))
@example(b"[" * 200_000)
@example(b'{"a":' * 200_000)
@example(b"9" * 10_000)
@example(b'{"manifest_sha256": NaN}')
@example(b'{"manifest_sha256": 1, "format_version": ["x"]}')
@example(b'{"manifest_sha256": 1, "format_version": 1}')
@example(b"\xff\xfe{\x00}\x00")
def test_bytes_that_are_no_manifest_are_refused(data: bytes) -> None:
    assert read(data) is None


@FAST
@given(st.sampled_from(sorted(GOOD)), values, st.sampled_from([1, 2]))
@example("progress", {}, 2)
@example("progress", {"step": "1"}, 2)
@example("progress", {"step": -1}, 1)
@example("progress", {"step": 10**400}, 2)
@example("history", {"seconds_trained": float("nan")}, 2)
@example("history", {"costs": {"upload_seconds": -1}}, 2)
@example("history", {"costs": {"upload_seconds": float("inf")}}, 2)
@example("versions", {"torch": "\ud800"}, 2)
def test_a_field_of_any_value_is_taken_or_refused(name: str, value: Any, version: int) -> None:
    manifest = read(sealed({**GOOD, "format_version": version, name: value}))
    if manifest is not None:
        assert manifest.step >= 0
        assert manifest.total_bytes >= 0
        again = read(manifest.to_json())
        assert again is not None
        assert again.to_json() == manifest.to_json()


@FAST
@given(st.lists(records, max_size=4))
def test_names_of_files_stay_below_the_checkpoints_folder(files: list[dict[str, Any]]) -> None:
    manifest = read(sealed({**GOOD, "files": files}))
    if manifest is None:
        return
    told = [record.name for record in manifest.files]
    assert len(set(told)) == len(told)
    assert MANIFEST not in told
    folder = PurePosixPath("/place/step-00000001")
    for record in manifest.files:
        assert "\0" not in record.name
        assert (folder / record.name).parent == folder
        assert ".." not in record.name.split("/")
        assert 0 <= record.bytes <= 2**63


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "../secret"}, "'../secret' is no name for a file of a checkpoint"),
        ({"name": "/etc/passwd"}, "'/etc/passwd' is no name"),
        ({"name": "a\0b"}, "is no name"),
        ({"name": MANIFEST}, "is no name"),
        ({"bytes": -1}, "greater than or equal to 0"),
        ({"bytes": 10**30}, "less than"),
        ({"sha256": "short"}, "match"),
    ],
)
def test_what_is_wrong_with_a_record_is_said(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UnsoundCheckpointError, match=said):
        CheckpointManifest.from_json(sealed({**GOOD, "files": [GOOD["files"][0] | changes]}))


def test_a_name_that_comes_twice_is_refused() -> None:
    with pytest.raises(UnsoundCheckpointError, match=r"__0_0\.distcp is named twice"):
        CheckpointManifest.from_json(sealed({**GOOD, "files": GOOD["files"] * 2}))


def test_one_that_does_not_know_what_saving_costs_is_read() -> None:
    manifest = CheckpointManifest.from_json(sealed(GOOD))
    assert manifest.history.costs == Costs()


class Watched(LocalStorage):
    """Notices what is touched."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.touched: set[str] = set()

    def _path(self, key: str) -> Path:
        path = super()._path(key)
        self.touched.add(key)
        return path


@FAST
@given(st.binary() | st.lists(records, max_size=3).map(lambda files: sealed({**GOOD, "files": files})))
def test_who_verifies_stays_in_the_place(tmp_path: Path, data: bytes) -> None:
    place = Watched(tmp_path / "place")
    (tmp_path / "secret").write_bytes(SECRET)
    place.write_bytes(f"step-00000001/{MANIFEST}", data)
    (entry,) = catalog.entries(place).values()
    try:
        manifest = catalog.read_manifest(place, entry.name)
    except UnsoundCheckpointError:
        return
    problems = catalog.problems(place, entry.name, manifest.files, 2, lambda _: None)
    assert len(problems) == len(manifest.files), "none of them is there"
    assert all(key.startswith("step-00000001/") and ".." not in key for key in place.touched)
    assert (tmp_path / "secret").read_bytes() == SECRET


folders = st.sampled_from(
    ["step-00000001", "step-1", "step-", "step-0000000x", "step-000000012", "step-٣٣٣٣٣٣٣٣"]
) | st.from_regex(r"step-\d{1,30}", fullmatch=True)


class Listed:
    """A place that tells of whatever keys it likes, as a bucket may."""

    uri = "s3://bucket/runs"

    def __init__(self, keys: dict[str, int]) -> None:
        self.keys = keys

    def sizes(self, prefix: str = "") -> dict[str, int]:
        return {key: size for key, size in self.keys.items() if key.startswith(prefix)}


@FAST
@given(st.dictionaries(st.builds(lambda folder, name: f"{folder}/{name}", folders, names) | st.text(), st.integers(0)))
def test_a_listing_of_any_keys_gives_each_checkpoint_its_own_files(keys: dict[str, int]) -> None:
    place: Any = Listed(keys)
    found = catalog.entries(place)
    for step, entry in found.items():
        assert entry.step == step
        assert entry.name == catalog.folder_name(step), "a name of another spelling is no checkpoint's"
        assert all(f"{entry.name}/{file}" in keys for file in entry.sizes)
    assert catalog.outdated(found.values(), max(found, default=0), 3, 5) is not None


@pytest.fixture(params=["path", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return open_storage(tmp_path / "place" if request.param == "path" else f"s3://{request.getfixturevalue('s3')}/a")


@pytest.mark.parametrize("name", ["../../secret", "/secret", "..", "\0", "n" * 5000, "a.writing"])
def test_a_run_passes_over_a_manifest_that_leads_elsewhere(place: Storage, tmp_path: Path, name: str) -> None:
    training = SmallTraining(tmp_path, place.uri)
    training.step()
    training.checkpoints.save(training.state, "interval", wait=True)
    training.checkpoints.close(wait=True)
    (tmp_path / "secret").write_bytes(SECRET)
    content = json.loads(place.read_bytes(f"step-00000001/{MANIFEST}"))
    del content["manifest_sha256"]
    content["progress"]["step"] = 2
    content["files"][0]["name"] = name
    place.write_bytes("step-00000002/__0_0.distcp", b"")
    place.write_bytes(f"step-00000002/{MANIFEST}", sealed(content))

    other = SmallTraining(tmp_path / "another-node", place.uri)
    assert other.resume() == f"{place.uri}/step-00000001"
    (refused,) = other.checkpoints.refused
    assert refused.step == 2
    assert "is no name for a file of a checkpoint" in refused.reason
    assert (tmp_path / "secret").read_bytes() == SECRET
