"""Two tiers: what a restart uses of them, what it refuses and why, what is kept, and what it costs in memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import psutil
import pytest
from free_port import free_port
from small_training import SmallTraining, same
from trainer.catalog import Entry, folder_name, outdated
from trainer.checkpoint import Saved
from trainer.manifest import MANIFEST, hash_of
from waiting import wait_until


def save(training: SmallTraining, ending: str = "interval") -> None:
    training.step()
    training.checkpoints.save(training.state, ending, wait=True)
    training.checkpoints.close(wait=True)


def flip_a_byte(folder: Path) -> str:
    file = folder / "__0_0.distcp"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    return "SHA-256 of __0_0.distcp differs"


def truncate(folder: Path) -> str:
    file = folder / "__0_0.distcp"
    file.write_bytes(file.read_bytes()[:-100])
    return "__0_0.distcp has"


def lose_a_shard(folder: Path) -> str:
    (folder / "__0_0.distcp").unlink()
    return "__0_0.distcp is missing"


def lose_the_manifest(folder: Path) -> str:
    (folder / "manifest.json").unlink()
    return "no manifest.json: its saving was never finished"


def in_the_bucket(damage: Callable[[Path], str], bucket: str, prefix: str, work: Path) -> str:
    """Does to objects what `damage` does to files."""
    client = boto3.client("s3")
    keys = [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]]
    work.mkdir()
    for key in keys:
        client.download_file(bucket, key, str(work / key.rpartition("/")[2]))
    said = damage(work)
    for key in keys:
        file = work / key.rpartition("/")[2]
        if file.exists():
            client.upload_file(str(file), bucket, key)
        else:
            client.delete_object(Bucket=bucket, Key=key)
    return said


DAMAGES = [flip_a_byte, truncate, lose_a_shard, lose_the_manifest]


@pytest.fixture
def saved_twice(s3: str, tmp_path: Path) -> SmallTraining:
    training = SmallTraining(tmp_path, f"s3://{s3}/runs/a")
    save(training)
    save(training)
    return training


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_on_the_nodes_disk_is_named_and_the_durable_one_used(
    saved_twice: SmallTraining, s3: str, tmp_path: Path, damage: Callable[[Path], str]
) -> None:
    said = damage(saved_twice.local / "step-00000002")
    again = SmallTraining(tmp_path, f"s3://{s3}/runs/a")
    assert again.resume() == f"s3://{s3}/runs/a/step-00000002"
    assert same(again.numbers(), saved_twice.numbers())
    (refused,) = again.checkpoints.refused
    assert refused.uri == str(saved_twice.local / "step-00000002")
    assert said in refused.reason
    assert SmallTraining(tmp_path, f"s3://{s3}/runs/a").resume() == str(again.local / "step-00000002"), "not mended"


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_in_the_bucket_is_named_where_the_disk_is_gone_and_the_one_before_used(
    saved_twice: SmallTraining, s3: str, tmp_path: Path, damage: Callable[[Path], str]
) -> None:
    said = in_the_bucket(damage, s3, "runs/a/step-00000002/", tmp_path / "work")
    other = SmallTraining(tmp_path / "another-node", f"s3://{s3}/runs/a")
    assert other.resume() == f"s3://{s3}/runs/a/step-00000001"
    (refused,) = other.checkpoints.refused
    assert refused.uri == f"s3://{s3}/runs/a/step-00000002"
    assert said in refused.reason
    here = SmallTraining(tmp_path, f"s3://{s3}/runs/a")
    assert here.resume() == str(saved_twice.local / "step-00000002")
    expected = other.checkpoints.newest_durable if damage is lose_the_manifest else None
    assert expected in (None, here.checkpoints.newest_durable)


def test_damage_in_both_tiers_is_named_twice(saved_twice: SmallTraining, s3: str, tmp_path: Path) -> None:
    flip_a_byte(saved_twice.local / "step-00000002")
    in_the_bucket(truncate, s3, "runs/a/step-00000002/", tmp_path / "work")
    again = SmallTraining(tmp_path, f"s3://{s3}/runs/a")
    assert again.resume() == str(saved_twice.local / "step-00000001")
    assert [refused.reason.split()[0] for refused in again.checkpoints.refused] == ["the", "__0_0.distcp"]


def test_only_what_is_damaged_is_fetched_again(
    saved_twice: SmallTraining, s3: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flip_a_byte(saved_twice.local / "step-00000002")
    caplog.clear()
    SmallTraining(tmp_path, f"s3://{s3}/runs/a").resume()
    fetched = [line for line in caplog.messages if "GET" in line and "step-00000002/" in line]
    assert any("__0_0.distcp" in line for line in fetched)
    assert not any(".metadata" in line for line in fetched)


def test_what_was_saved_for_another_place_is_not_taken_up(saved_twice: SmallTraining, s3: str, tmp_path: Path) -> None:
    assert SmallTraining(tmp_path, f"s3://{s3}/runs/b").resume() is None


def test_each_tier_keeps_the_last_and_the_durable_one_those_for_ever(s3: str, tmp_path: Path) -> None:
    training = SmallTraining(tmp_path, f"s3://{s3}/runs/a", checkpoint__keep_last=2, checkpoint__keep_every_steps=3)
    for _ in range(8):
        save(training)
    keys = [entry["Key"] for entry in boto3.client("s3").list_objects_v2(Bucket=s3, Prefix="runs/a/")["Contents"]]
    assert sorted({int(key.split("/")[2].removeprefix("step-")) for key in keys if "/step-" in key}) == [3, 6, 7, 8]
    assert sorted(folder.name for folder in training.local.glob("step-*")) == ["step-00000007", "step-00000008"]


def test_at_uneven_intervals_the_first_after_each_multiple_is_kept() -> None:
    saved = [Entry(step, folder_name(step), {MANIFEST: 1}) for step in (100, 200, 730, 1480, 2020, 2044, 2068, 2092)]
    gone = outdated(saved, newest=2092, keep_last=1, keep_every=500)
    assert [entry.step for entry in gone] == [100, 200, 2044, 2068]
    assert outdated([one for one in saved if one not in gone], 2092, 1, 500) == []


def test_a_full_local_disk_costs_only_the_local_tier(s3: str, tmp_path: Path) -> None:
    training = SmallTraining(tmp_path, f"s3://{s3}/runs/a")
    shutil.rmtree(training.local)
    training.local.write_text("a file where a folder should be")
    training.step()
    assert training.checkpoints.save(training.state, "interval", wait=True).state == "durable"
    (saved,) = training.checkpoints.finished()
    assert isinstance(saved, Saved)
    assert str(training.local) in (saved.not_local or "")


def test_manifest_says_what_saved_it_why_and_after_what(tmp_path: Path) -> None:
    training = SmallTraining(tmp_path, tmp_path / "durable")
    save(training)
    manifest = training.manifest(1)
    assert manifest.ending == "interval"
    assert manifest.history.failures == 0
    assert manifest.code_revision is not None
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    assert manifest.code_revision.rstrip("+") in (f"git:{head}", manifest.code_revision) if head else True
    assert manifest.code_revision.startswith(("git:", "sources:"))

    after_failure = SmallTraining(tmp_path, tmp_path / "durable")
    after_failure.resume()
    save(after_failure, "preempted")
    assert after_failure.manifest(2).history.failures == 1
    assert after_failure.manifest(2).history.seconds_trained > manifest.history.seconds_trained
    after_warning = SmallTraining(tmp_path, tmp_path / "durable")
    after_warning.resume()
    assert after_warning.checkpoints.history.failures == 1, "one that was warned is none"


def test_an_orderly_end_right_after_a_save_is_no_failure(tmp_path: Path) -> None:
    training = SmallTraining(tmp_path, tmp_path / "durable")
    training.step()
    training.checkpoints.save(training.state, "interval", wait=True)
    before = {f.name: f.stat().st_mtime_ns for f in (tmp_path / "durable/step-00000001").glob("*.distcp")}
    assert training.checkpoints.save(training.state, "preempted", wait=True).state == "durable"
    assert before == {f.name: f.stat().st_mtime_ns for f in (tmp_path / "durable/step-00000001").glob("*.distcp")}
    assert training.manifest(1).ending == "preempted"
    again = SmallTraining(tmp_path, tmp_path / "durable")
    assert again.resume() == str(tmp_path / "durable/step-00000001")
    assert again.checkpoints.history.failures == 0


def test_checkpoints_of_the_first_format_are_read(tmp_path: Path) -> None:
    training = SmallTraining(tmp_path, tmp_path / "durable")
    save(training)
    file = tmp_path / "durable/step-00000001/manifest.json"
    content = json.loads(file.read_text())
    for added in ("manifest_sha256", "ending", "history", "code_revision"):
        del content[added]
    content["format_version"] = 1
    del content["progress"]["recent_losses"]
    content["progress"]["of_a_later_trainer"] = 3
    file.write_text(json.dumps({**content, "manifest_sha256": hash_of(content)}))
    again = SmallTraining(tmp_path, tmp_path / "durable")
    assert again.resume() == str(tmp_path / "durable/step-00000001")
    assert same(again.numbers(), training.numbers())


def test_the_saving_process_ends_with_the_rank_and_a_lost_one_is_replaced(tmp_path: Path) -> None:
    training = SmallTraining(tmp_path, tmp_path / "durable", checkpoint__asynchronous=True)
    training.step()
    training.checkpoints.save(training.state, "interval", wait=True)
    (saver,) = [child for child in psutil.Process().children() if "trainer.saver" in " ".join(child.cmdline())]
    saver.kill()
    saver.wait()
    training.step()
    assert training.checkpoints.save(training.state, "interval", wait=True).state == "durable"
    training.checkpoints.close(wait=True)
    assert not [child for child in psutil.Process().children() if "trainer.saver" in " ".join(child.cmdline())]
    assert SmallTraining(tmp_path, tmp_path / "durable").resume() == str(tmp_path / "durable/step-00000002")


@pytest.fixture
def s3_elsewhere(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """A bucket, and the process that serves it: what it keeps counts for nobody here."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
            monkeypatch.setenv("AWS_MAX_ATTEMPTS", "10")  # until it has started
            client = boto3.client("s3")
            client.create_bucket(Bucket=s3, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
            yield s3, server.pid
        finally:
            server.kill()


def test_memory_stays_flat_over_fifty_saves(s3_elsewhere: tuple[str, int], tmp_path: Path) -> None:
    """Of the rank and its saving process together, with a state of 12 MB; a copy more at each save would be 600."""
    bucket, server = s3_elsewhere
    training = SmallTraining(
        tmp_path, f"s3://{bucket}/runs/a", numbers=1 << 20, checkpoint__asynchronous=True, checkpoint__keep_last=1
    )
    measured = []
    for number in range(50):
        training.step()
        training.checkpoints.save(training.state, "interval", wait=True)
        training.checkpoints.finished()
        family = [psutil.Process(), *psutil.Process().children(recursive=True)]
        measured.append(sum(process.memory_full_info().uss for process in family if process.pid != server))
        if number == 9:
            handles = len(list(Path("/proc/self/fd").iterdir()))
    assert len(list(Path("/proc/self/fd").iterdir())) <= handles + 2
    training.checkpoints.close(wait=False)
    assert max(measured[40:]) - max(measured[5:15]) < 12e6, [round(m / 1e6) for m in measured]


def test_a_snapshot_is_not_changed_by_training_on(tmp_path: Path) -> None:
    training = SmallTraining(tmp_path, tmp_path / "durable", checkpoint__asynchronous=True)
    training.step()
    training.checkpoints.save(training.state, "interval")
    numbers = training.numbers()

    def told_after_a_step() -> list:
        training.step()
        return training.checkpoints.finished()

    wait_until(told_after_a_step, every=0)
    training.checkpoints.close(wait=False)
    again = SmallTraining(tmp_path, tmp_path / "durable")
    assert again.resume() == str(tmp_path / "durable/step-00000001")
    assert same(again.numbers(), numbers)
