"""`trainyard demo`: the whole slice, from an empty account to a trained model that survived a spot interruption."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainyard.cli import environments
from trainyard.cli.data import told
from trainyard.cli.progress import EngineProgress, Step, console, step, table

if TYPE_CHECKING:
    from trainer.shards import Manifest

RANKS = 2
INSTANCE = "i-0de30000000000001"
"""Stands for the spot instance that both ranks run on."""
INTERRUPT_AT = 0.45
"""Share of the steps after which the warning is sent."""
RECIPE = "cpu-tiny"


class DemoError(Exception):
    """The demo ran to its end, and something it promises did not hold."""

    exit_status = 1


def demo() -> None:
    """Rehearse the platform, train on it, interrupt the training, resume it: figures, pictures, what to try next."""
    from trainyard.cli.architecture import draw as draw_architecture
    from trainyard.cli.loss_curve import draw as draw_loss
    from trainyard.local import isolation, toolchain
    from trainyard.local.paths import RUNS
    from trainyard.local.rehearsal import Rehearsal, count_resources

    began = time.monotonic()
    directory = RUNS / "demo"
    rehearsal = Rehearsal("local", directory / "rehearsal")
    _, settings = environments.read(rehearsal.environment, rehearsal.config)
    rehearsal.layers = settings.stack_layers
    with step("tools") as shown:
        for tool in toolchain.TOOLS:
            toolchain.find_all(tool, shown.show)

    with _owned(rehearsal):
        for left in ("run", "summary.json", "loss.png", "architecture.svg", "mlflow.db"):
            _remove(directory / left)
        with step("platform in the emulated account, policy pack in the engine") as shown:
            result = rehearsal.up(EngineProgress(shown))
        export, outputs = rehearsal.export(), rehearsal.outputs()
        draw_architecture(directory / "architecture.svg", export)

        aws = rehearsal.aws_environment()
        with isolation.only(aws):
            data_uri = f"s3://{outputs['datasets_bucket']}/python-stdlib"
            team = min(outputs["training_role_arns"])
            checkpoint_uri = f"s3://{outputs['checkpoints_bucket']}/runs/{team}/demo"
            with step("the machine's own Python sources, as tokens in the platform's bucket") as shown:
                data = _prepare(data_uri, shown)
            settings = _trainer_settings(directory, data_uri, checkpoint_uri, outputs["interruption_queue_url"])
            environment = {**aws, "TRAINER_INSTANCE_ID": INSTANCE}
            interrupted, lines = _train(settings, directory, environment, outputs["region"], interrupt=True)
            if interrupted.outcome != "preempted":
                raise DemoError(
                    f"the warning did not stop the training: it {interrupted.outcome} at step {interrupted.step}"
                )
            finished, more = _train(settings, directory, environment, outputs["region"], interrupt=False)
            checkpoints = _checkpoints(checkpoint_uri)

    steps = [line for line in lines + more if "event" not in line]
    if finished.outcome != "finished" or finished.resumed_from_step != interrupted.step:
        raise DemoError(
            f"interrupted at step {interrupted.step}, resumed from step {finished.resumed_from_step}, "
            f"ended {finished.outcome}: see {directory}/run/trainer.log"
        )
    draw_loss(directory / "run" / "metrics.jsonl", directory / "loss.png")
    summary = {
        "resources": count_resources(export),
        "policies_checked": len(result.policies),
        "policy_violations": len(result.mandatory),
        "tokens": sum(totals.tokens for totals in data.totals.values()),
        "ranks": RANKS,
        "steps": finished.step,
        "loss_first": round(steps[0]["loss"], 4),
        "loss_last": round(steps[-1]["loss"], 4),
        "tokens_per_second": round(statistics.median([line["tokens_per_second"] for line in steps])),
        "interrupted_at_step": interrupted.step,
        "resumed_at_step": finished.resumed_from_step,
        "checkpoints": checkpoints,
        "seconds": round(time.monotonic() - began, 1),
    }
    (directory / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    _tell(summary, directory)


@contextmanager
def _owned(rehearsal: Any) -> Generator[None]:
    """The emulated account, for as long as the demo runs and no longer."""
    with step("emulated AWS account and Kubernetes API"):
        rehearsal.start(owned=True)
    try:
        yield
    finally:
        rehearsal.stop()


def _prepare(uri: str, shown: Step) -> Manifest:
    from trainer.prepare import prepare

    return prepare(None, uri, progress=told(shown))


def _trainer_settings(directory: Path, data_uri: str, checkpoint_uri: str, queue_url: str) -> list[str]:
    settings = {
        "run.directory": directory / "run",
        "data.uri": data_uri,
        "data.cache_directory": directory / "tokens",
        "checkpoint.uri": checkpoint_uri,
        "tracking.uri": f"sqlite:///{directory / 'mlflow.db'}",
        "preemption.queue_url": queue_url,
        "preemption.wait_seconds": 1,
    }
    return [f"{name}={value}" for name, value in settings.items()]


def _train(
    settings: list[str], directory: Path, environment: dict[str, str], region: str, interrupt: bool
) -> tuple[Any, list[dict[str, Any]]]:
    """One start of the trainer; with `interrupt`, the warning is sent in mid-run."""
    from trainer.config import load_config

    from trainyard.cli import training

    arguments = ["--config", RECIPE, *(f"--set={setting}" for setting in settings)]
    total = load_config(RECIPE, settings).training.steps
    lines: list[dict[str, Any]] = []
    sent = False
    title = f"training on {RANKS} ranks until the spot warning" if interrupt else "started again, from where it stopped"

    with step(title) as shown:

        def on_line(line: dict[str, Any]) -> None:
            nonlocal sent
            lines.append(line)
            if "event" in line:
                return
            shown.show(f"loss {line['loss']:.3f}, {line['tokens_per_second']:,.0f} tokens/s", line["step"], total)
            if interrupt and not sent and line["step"] >= INTERRUPT_AT * total:
                sent = True
                send_spot_warning(INSTANCE, region)
                shown.show("spot interruption warning sent", line["step"], total)

        outcome = training.run(arguments, directory / "run", RANKS, environment, on_line)
    console.print(f"    {outcome.outcome} at step {outcome.step}: {outcome.reason}", style="dim", markup=False)
    return outcome, lines


def send_spot_warning(instance: str, region: str) -> None:
    """Put the warning on the default event bus, as EC2 does two minutes before it takes a spot instance back.

    In AWS only EC2 may speak as `aws.ec2`; the emulated bus takes it from anyone, which stands in for EC2 here.
    """
    import boto3

    entry = {
        "Source": "aws.ec2",
        "DetailType": "EC2 Spot Instance Interruption Warning",
        "Detail": json.dumps({"instance-id": instance, "instance-action": "terminate"}),
        "Resources": [f"arn:aws:ec2:{region}::instance/{instance}"],
    }
    answer = boto3.client("events", region_name=region).put_events(Entries=[entry])
    if answer["FailedEntryCount"]:
        raise DemoError(f"the event bus refused the warning: {answer['Entries']}")


def _checkpoints(uri: str) -> int:
    """Checkpoints that exist, which is to say: that have their manifest."""
    from trainer.storage import open_storage

    return sum(1 for key in open_storage(uri).list() if key.endswith("/manifest.json"))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _tell(summary: dict[str, Any], directory: Path) -> None:
    rows = [
        ("resources", f"{summary['resources']} in the emulated account"),
        ("policies", f"{summary['policies_checked']} checked, {summary['policy_violations']} violated"),
        ("data", f"{summary['tokens']:,} tokens of Python source"),
        (
            "training",
            f"{summary['steps']} steps on {summary['ranks']} ranks, {summary['tokens_per_second']:,} tokens/s",
        ),
        ("loss", f"{summary['loss_first']:.3f} → {summary['loss_last']:.3f}"),
        ("interrupted", f"at step {summary['interrupted_at_step']}, resumed at step {summary['resumed_at_step']}"),
        ("checkpoints", f"{summary['checkpoints']} kept"),
        ("took", f"{summary['seconds']:.0f} s"),
        ("pictures", f"{_relative(directory / 'loss.png')}, {_relative(directory / 'architecture.svg')}"),
        ("figures", _relative(directory / "summary.json")),
    ]
    console.print(table("Trainyard, rehearsed", rows))
    database = _relative(directory / "mlflow.db")
    console.print("Try next:", style="bold")
    for command in (
        ".venv/bin/trainyard local up    # the platform, to look around in",
        ".venv/bin/trainyard data prepare FOLDER --to ./tokens    # your own text as training data",
        f".venv/bin/mlflow ui --backend-store-uri sqlite:///{database}    # the run that was just made",
    ):
        console.print(f"  {command}", markup=False, soft_wrap=True)


def _relative(path: Path) -> str:
    return os.path.relpath(path)
