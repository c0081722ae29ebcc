"""MLflow as a view of the journal: a process of its own follows `metrics.jsonl` and copies what MLflow lacks.

The loop never waits for MLflow (whose import and first migration take ten seconds), a tracking failure can't stop a
run, and a restarted follower goes on where MLflow's record ends: one run across all restarts, each step once.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainer.config_sections import TrackingConfig
from trainer.metrics import EVALUATION

RUN_TAG = "trainer.run_id"
_POLL_SECONDS = 1.0
_BATCH = 1000  # metrics one MLflow request may carry
_STATUS_OF_EVENT = {"finished": "FINISHED", "failed": "FAILED"}
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Tracked:
    """What the follower is started with."""

    uri: str
    experiment: str
    run_name: str | None
    run_id: str
    """The trainer's own id, kept in every checkpoint; MLflow's run carries it as a tag."""
    directory: str
    """Holds metrics.jsonl and config.yaml."""


class Tracker:
    """The follower, as the trainer sees it."""

    def __init__(self, settings: TrackingConfig, run_id: str, directory: Path) -> None:
        if settings.uri is None:
            self._process = None
            return
        tracked = Tracked(settings.uri, settings.experiment, settings.run_name, run_id, str(directory))
        self.log = directory / "tracking.log"
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "trainer.tracking", json.dumps(asdict(tracked))],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the trainer, which ends the follower in its own time
            )

    def close(self, timeout_seconds: float) -> str | None:
        """Lets the follower copy the rest and end. Returns what went wrong, if anything; the next start catches up."""
        if self._process is None:
            return None
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            code = self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return f"MLflow was not done after {timeout_seconds:.0f} s; the rest is copied at the next start"
        return f"metrics did not reach MLflow, see {self.log}" if code else None


def follow(tracked: Tracked) -> None:
    """Copies journal lines into MLflow until standard input closes and everything is copied."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

    if tracked.uri.startswith("sqlite:///"):
        _database(tracked.uri).parent.mkdir(parents=True, exist_ok=True)
    client = MlflowClient(tracking_uri=tracked.uri)
    run = _run(client, tracked)
    # `tokens` too: a step whose loss is no number has none.
    done = {
        "loss": max(_last_step(client, run, key) for key in ("loss", "tokens")),
        "evaluation_loss": _last_step(client, run, "evaluation_loss"),
    }
    last_event = "started"
    journal = Path(tracked.directory, "metrics.jsonl")
    for lines in _appended(journal):
        metrics: list[Metric] = []
        for line in lines:
            event = line.pop("event", None)
            if event not in (None, EVALUATION):
                last_event = event
                continue
            marker = "evaluation_loss" if event else "loss"
            step, milliseconds = line.pop("step"), int(line.pop("time") * 1000)
            if step > done[marker]:
                done[marker] = step
                metrics += [Metric(key, value, milliseconds, step) for key, value in line.items() if value is not None]
        for start in range(0, len(metrics), _BATCH):
            client.log_batch(run, metrics=metrics[start : start + _BATCH])
    if last_event in _STATUS_OF_EVENT:
        client.set_terminated(run, status=_STATUS_OF_EVENT[last_event])


def _run(client: Any, tracked: Tracked) -> str:
    """MLflow's id of the run that carries the trainer's, made if it does not exist."""
    import yaml
    from mlflow.entities import Param
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(tracked.experiment)
    if experiment is None:
        place = None
        if tracked.uri.startswith("sqlite:///"):
            place = (_database(tracked.uri).parent / "mlflow-artifacts").as_uri()
        try:
            experiment_id = client.create_experiment(tracked.experiment, artifact_location=place)
        except MlflowException:  # another run was quicker
            experiment_id = client.get_experiment_by_name(tracked.experiment).experiment_id
    else:
        experiment_id = experiment.experiment_id
    known = client.search_runs([experiment_id], f"tags.`{RUN_TAG}` = '{tracked.run_id}'", max_results=1)
    if known:
        client.update_run(known[0].info.run_id, status="RUNNING")
        return known[0].info.run_id
    run = client.create_run(experiment_id, tags={RUN_TAG: tracked.run_id}, run_name=tracked.run_name).info.run_id
    settings = Path(tracked.directory, "config.yaml")
    parameters = [
        Param(f"{section}.{name}", str(value))
        for section, fields in yaml.safe_load(settings.read_text()).items()
        for name, value in fields.items()
    ]
    client.log_batch(run, params=parameters)
    client.log_artifact(run, str(settings))
    return run


def _last_step(client: Any, run: str, key: str) -> int:
    return max((metric.step for metric in client.get_metric_history(run, key)), default=-1)


def _appended(journal: Path) -> Iterator[list[dict[str, Any]]]:
    """New whole lines, about once a second, and the last ones after standard input has closed.

    A run that goes back writes its journal anew, as another file: that one begins again at its first line.
    """
    file, rest = journal.open(), ""
    try:
        while True:
            closing = bool(select.select([sys.stdin], [], [], _POLL_SECONDS)[0])
            if not os.path.samestat(journal.stat(), os.fstat(file.fileno())):
                file.close()  # what was not read of it has been taken back, or stands in the new one
                file, rest = journal.open(), ""
            text = rest + file.read()
            whole, _, rest = text.rpartition("\n")
            yield [json.loads(line) for line in whole.splitlines()]
            if closing:
                return
    finally:
        file.close()


def _database(uri: str) -> Path:
    return Path(uri.removeprefix("sqlite:///")).absolute()


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    _die_with_parent()
    os.nice(10)  # the trainer's cores are the trainer's
    follow(Tracked(**json.loads(sys.argv[1])))
