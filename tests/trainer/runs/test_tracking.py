"""MLflow shows one run with each step once, however often the run was stopped and started."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trainer.config_sections import TrackingConfig
from trainer.metrics import Journal
from trainer.tracking import Tracker
from waiting import WAIT_SECONDS


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One for all: making it takes MLflow seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def tracked(database: str) -> Callable[[str], tuple[Any, Callable[[str], dict[int, float]]]]:
    """The only run of an experiment, and its metrics by step; a step that is there twice fails the test."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=database)

    def look(experiment: str) -> tuple[Any, Callable[[str], dict[int, float]]]:
        (run,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])

        def history(name: str) -> dict[int, float]:
            metrics = client.get_metric_history(run.info.run_id, name)
            values = {metric.step: metric.value for metric in metrics}
            assert len(values) == len(metrics), f"{name}: a step is there twice"
            return values

        assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["config.yaml"]
        return run, history

    return look


def test_stopped_and_resumed_run_is_one_in_mlflow(new_run: Callable, database: str, tracked: Callable) -> None:
    run = new_run(tracking__uri=database, tracking__experiment="resumed", evaluation__interval_steps=3)
    run.settings |= {"training.steps": 60, "checkpoint.interval_steps": 60}
    gang = run.halted(2, at=5)
    gang.signal(0, signal.SIGTERM)
    gang.go_on()
    assert gang.wait() == [75, 75]
    assert run.outcome["outcome"] == "preempted"
    run.go(2)

    found, history = tracked("resumed")
    assert found.info.status == "FINISHED"
    assert found.data.params["model.width"] == "32"
    assert history("loss") == {step: loss for step, (loss, _) in run.steps.items()}
    assert set(history("evaluation_loss")) == set(range(3, 61, 3))


def test_steps_done_again_after_a_kill_are_not_told_mlflow_twice(
    tmp_path: Path, database: str, tracked: Callable
) -> None:
    settings = TrackingConfig(uri=database, experiment="killed")
    (tmp_path / "config.yaml").write_text("model: {width: 32}\n")

    def attempt(resumed_step: int, last_step: int, *, finished: bool) -> None:
        journal = Journal(tmp_path / "metrics.jsonl", resumed_step)
        tracker = Tracker(settings, "the-run", tmp_path)
        for step in range(resumed_step + 1, last_step + 1):
            journal.write(step=step, loss=1 / step)
        if finished:
            journal.write(event="finished", step=last_step)
        journal.close()
        assert tracker.close(timeout_seconds=WAIT_SECONDS) is None

    attempt(0, 7, finished=False)
    attempt(4, 12, finished=True)  # steps 5 to 7 happen a second time
    found, history = tracked("killed")
    assert history("loss") == {step: 1 / step for step in range(1, 13)}
    assert found.info.status == "FINISHED"


def test_tracking_that_can_not_be_reached_does_not_stop_training(new_run: Callable, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    run = new_run(tracking__uri=f"sqlite:///{tmp_path}/file/mlflow.db").go()
    assert run.outcome["outcome"] == "finished"
    assert "metrics did not reach MLflow" in run.log.read_text()
