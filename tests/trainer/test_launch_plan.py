"""`--dry-run` through the launcher: the ranks it is asked about, none of them started, and no run touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from trainer import elastic, launch


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    def ranks(*_: object) -> None:
        raise AssertionError("a rank was started")

    monkeypatch.setattr(elastic, "run_ranks", ranks)
    changes = {
        "run.directory": tmp_path / "run",
        "data.uri": tmp_path / "not-yet-there",
        "checkpoint.uri": tmp_path / "saved",
        "model.layers": 1,
        "training.global_batch_size": 12,
        "training.micro_batch_size": 1,
    }
    return ["--config", "cpu-tiny", *(f"--set={name}={value}" for name, value in changes.items())]


def test_the_plan_is_of_the_ranks_asked_for_and_leaves_an_earlier_outcome_alone(
    arguments: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/outcome.json").write_text("{}")
    plan = ["--dry-run", "--vocabulary-size", "61"]
    # Five ranks, as many as the launcher would start, do not divide the batch; four do.
    assert launch.main(["--nproc-per-node", "5", "--", *arguments, *plan, "--world-size", "4"]) == 0
    assert "12 samples = 4 ranks x 1 at once x 3 accumulated" in capfd.readouterr().out
    assert launch.main(["--nproc-per-node", "3", "--", *arguments, *plan]) == 0
    assert "12 samples = 3 ranks x 1 at once x 4 accumulated" in capfd.readouterr().out
    assert launch.main(["--nnodes", "2", "--nproc-per-node", "2", "--", *arguments, *plan]) == 0, "they never meet"
    assert "12 samples = 4 ranks x 1 at once x 3 accumulated" in capfd.readouterr().out
    assert launch.main(["--nproc-per-node", "5", "--", *arguments, *plan]) == 2
    assert "5 rank(s) x 1 samples" in capfd.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["run", "outcome.json"]
