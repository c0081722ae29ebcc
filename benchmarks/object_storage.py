"""How fast a checkpoint goes to a bucket and comes back, beside boto3 alone.

Upload: the files of a checkpoint, hashed already, until each has been confirmed by the bucket. Restore: on a node with
an empty disk, from the search for the newest checkpoint until its tensors are in the training state, every file
verified. boto3 alone sends and fetches the same files in parallel, with the settings that are best here; it verifies
nothing and loads nothing. The bucket is one in memory (s3_server.py); what plain HTTP reaches with it is told too.

    python -m benchmarks.object_storage --json object_storage.json
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from trainer.storage import open_storage
from trainer.upload import Part, Persistence, put_all

from benchmarks.checkpoints import Training, fresh
from benchmarks.figures import machine, ratios, spread, verdict, work_folder

BUCKET = "checkpoints"
THREADS = 8
BOTO3_SETTINGS = ((1, 8), (4, 2), (8, 1), (8, 8))
"""Files at once, and parts of each at once."""
TARGET = 0.9
UPLOAD, RESTORE = "trainer: upload, confirmed", "trainer: restore, verified and loaded"
BOTO3_UPLOAD, BOTO3_DOWNLOAD = "boto3: upload", "boto3: download"
PLAIN_PUT, PLAIN_GET = "plain HTTP: PUT", "plain HTTP: GET"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of everything (default %(default)s)")
    parser.add_argument("--megabytes", type=int, default=500, help="of state (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    given = parser.parse_args()
    training = Training(given.megabytes)
    with tempfile.TemporaryDirectory(prefix="object-storage-", dir=work_folder()) as work, bucket() as endpoint:
        rates, settings = measure(training, Path(work), endpoint, given.rounds)
    result = {
        "benchmark": "object_storage",
        "machine": machine(),
        "state_megabytes": round(training.bytes / 1e6, 1),
        "rounds": given.rounds,
        "boto3_files_and_parts_at_once": settings,
        "megabytes_per_second": {name: spread(values) for name, values in rates.items()},
        "upload_to_boto3": ratios(rates[UPLOAD], rates[BOTO3_UPLOAD], TARGET),
        "restore_to_boto3": ratios(rates[RESTORE], rates[BOTO3_DOWNLOAD], TARGET),
    }
    show(result)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def measure(
    training: Training, work: Path, endpoint: str, rounds: int
) -> tuple[dict[str, list[float]], tuple[int, int]]:
    """Megabytes per second of everything, in turn, and the settings that suit boto3 best."""
    uri = f"s3://{BUCKET}/run"
    saving = training.checkpoints(fresh(work / "node"), uri, asynchronous=False)
    saving.save(training.state, "interval", wait=True)
    saving.close(wait=True)
    found = training.checkpoints(fresh(work / "other"), uri, asynchronous=False).newest_sound()
    assert found is not None
    files = fresh(work / "files")
    shutil.copytree(found.folder, files)
    parts = [in_memory(file) for file in sorted(files.iterdir())]
    megabytes = sum(len(part.data) for part in parts) / 1e6

    storage = open_storage(f"s3://{BUCKET}/upload")
    settings = min(BOTO3_SETTINGS, key=lambda one: min(sum(boto3_both_ways(work, one)) for _ in range(2)))
    ways: dict[str, Callable[[], float]] = {
        UPLOAD: lambda: timed(
            lambda: put_all(storage, "one", parts, THREADS, Persistence(60.0, lambda reason: sys.exit(reason)))
        ),
        RESTORE: lambda: timed(lambda: restore(training, fresh(work / "other"), uri)),
        BOTO3_UPLOAD: lambda: boto3_upload(work, settings),
        BOTO3_DOWNLOAD: lambda: boto3_download(work, settings),
        PLAIN_PUT: lambda: timed(lambda: plain(endpoint, "PUT", parts)),
        PLAIN_GET: lambda: timed(lambda: plain(endpoint, "GET", parts)),
    }
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for way in ways.values():
        way()  # the first time is not counted
    names = list(ways)
    for number in range(rounds):
        for way in names if number % 2 == 0 else reversed(names):
            rates[way].append(megabytes / ways[way]())
    return rates, settings


def timed(action: Callable[[], Any]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def in_memory(file: Path) -> Part:
    """As the saver has it: the file's bytes at the beginning of a page."""
    data = file.read_bytes()
    memory = mmap.mmap(-1, len(data))
    memory[:] = data
    return Part(file.name, memoryview(memory), hashlib.sha256(data).hexdigest())


def restore(training: Training, node: Path, uri: str) -> None:
    checkpoints = training.checkpoints(node, uri, asynchronous=False)
    found = checkpoints.newest_sound()
    assert found is not None, checkpoints.refused
    checkpoints.load(found, training.state)
    checkpoints.close(wait=False)


def boto3_both_ways(work: Path, settings: tuple[int, int]) -> tuple[float, float]:
    return boto3_upload(work, settings), boto3_download(work, settings)


def boto3_upload(work: Path, settings: tuple[int, int]) -> float:
    client, config, files = boto3_client(work, settings)
    with ThreadPoolExecutor(settings[0]) as pool:
        send = partial(client.upload_file, Bucket=BUCKET, Config=config)
        return timed(lambda: list(pool.map(lambda file: send(str(file), Key=f"raw/{file.name}"), files)))


def boto3_download(work: Path, settings: tuple[int, int]) -> float:
    client, config, files = boto3_client(work, settings)
    to = fresh(work / "raw")
    to.mkdir()
    with ThreadPoolExecutor(settings[0]) as pool:
        fetch = partial(client.download_file, BUCKET, Config=config)
        return timed(
            lambda: list(pool.map(lambda file: fetch(f"raw/{file.name}", Filename=str(to / file.name)), files))
        )


def boto3_client(work: Path, settings: tuple[int, int]) -> tuple[Any, Any, list[Path]]:
    import boto3
    from boto3.s3.transfer import TransferConfig
    from botocore.config import Config

    client = boto3.client("s3", config=Config(s3={"addressing_style": "path"}, max_pool_connections=64))
    return client, TransferConfig(max_concurrency=settings[1]), sorted((work / "files").iterdir())


def plain(endpoint: str, method: str, parts: list[Part]) -> None:
    """Without boto3, signatures or files."""

    def one(part: Part) -> None:
        connection = http.client.HTTPConnection(endpoint.removeprefix("http://"), blocksize=1 << 20)
        connection.request(method, f"/{BUCKET}/plain/{part.name}", body=part.data if method == "PUT" else None)
        answer = connection.getresponse()
        room = bytearray(1 << 20)
        while answer.readinto(room):
            pass
        assert answer.status == 200, answer.status
        connection.close()

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, parts))


@contextmanager
def bucket() -> Generator[str]:
    """A bucket, the environment that leads there, and its endpoint."""
    command = [sys.executable, "-m", "benchmarks.s3_server"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        endpoint = server.stdout.readline().strip()
        os.environ.update(
            AWS_ENDPOINT_URL=endpoint,
            AWS_ACCESS_KEY_ID="benchmark",
            AWS_SECRET_ACCESS_KEY="benchmark",
            AWS_DEFAULT_REGION="us-east-1",
            AWS_EC2_METADATA_DISABLED="true",
        )
        yield endpoint
    finally:
        server.kill()
        server.wait()


def show(result: dict[str, Any]) -> None:
    title = f"{result['state_megabytes']:.0f} MB to a bucket and back, {result['machine']['cores']} cores"
    table = Table(title=title, title_justify="left")
    table.add_column("what")
    for column in ("MB/s", "min … max"):
        table.add_column(column, justify="right")
    for what, rate in result["megabytes_per_second"].items():
        table.add_row(what, f"{rate['median']:.0f}", f"{rate['min']:.0f} … {rate['max']:.0f}")
    console = Console()
    console.print(table)
    files, parts = result["boto3_files_and_parts_at_once"]
    console.print(f"boto3: {files} files at once, {parts} parts of each; the server is what plain HTTP shows")
    console.print(verdict("upload to boto3", result["upload_to_boto3"]))
    console.print(verdict("restore to boto3", result["restore_to_boto3"]))


if __name__ == "__main__":
    sys.exit(main())
