"""How checkpoints are shown to people."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text
from trainer.catalog import Entry
from trainer.manifest import CheckpointManifest

from trainyard.cli.checkpoint.place import Line, Verdict
from trainyard.cli.progress import table


def listing(uri: str, lines: Sequence[Line], run: str | None) -> Group:
    # Narrow enough for 80 columns; where it is not, times take two lines, and no number is cut.
    shown = Table(title=uri, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("step", "size", "files"):
        shown.add_column(name, justify="right", no_wrap=True)
    for name in ("saved (UTC)", "why", "ranks", "trained", "failures"):
        shown.add_column(name, no_wrap=name not in ("saved (UTC)", "trained"))
    damaged = []
    for line in lines:
        first = [str(line.entry.step), size(line.entry.bytes), str(len(line.entry.sizes))]
        if line.manifest is None:
            shown.add_row(*first, "", Text("damaged" if line.entry.finished else "unfinished", style="yellow"))
            if line.entry.finished:
                damaged.append(f"{line.entry.name}: {line.problem}")
            continue
        manifest = line.manifest
        ranks = f"{manifest.world_size} {manifest.strategy}" if manifest.world_size > 1 else "1"
        trained = duration(manifest.history.seconds_trained)
        saved = manifest.saved_at[:16].replace("T", " ")
        shown.add_row(*first, saved, manifest.ending, ranks, trained, str(manifest.history.failures))
    return Group(shown, *damaged, *([f"a run is using it: {run}"] if run else []))


def show_manifest(console: Console, uri: str, manifest: CheckpointManifest) -> None:
    ranks = f"{manifest.world_size} on {manifest.device}, strategy {manifest.strategy}"
    about = [
        ("step", str(manifest.step)),
        ("saved", f"{manifest.saved_at}, {manifest.ending}"),
        ("run", manifest.run_id),
        ("size", f"{size(manifest.total_bytes)} in {len(manifest.files)} files"),
        ("ranks", ranks),
        ("code", manifest.code_revision or "not told"),
        ("versions", ", ".join(f"{name} {version}" for name, version in manifest.versions.items())),
        ("data", manifest.data_sha256),
        ("settings' SHA-256", manifest.config_sha256),
        (
            "history",
            f"{duration(manifest.history.seconds_trained)} trained, "
            f"{manifest.history.failures} failures without a warning",
        ),
    ]
    progress = [(name, str(value)) for name, value in manifest.progress.items() if name != "recent_losses"]
    settings = [
        (f"{section}.{name}", str(value))
        for section, fields in manifest.config.items()
        for name, value in fields.items()
    ]
    console.print(Group(table(uri, about), table("progress", progress), table("settings", settings)))


def verdicts(uri: str, verdicts: Sequence[Verdict]) -> Table:
    shown = Table(title=uri, title_justify="left", title_style="bold")
    shown.add_column("checkpoint")
    shown.add_column("size", justify="right")
    shown.add_column("files", justify="right")
    shown.add_column("")
    for one in verdicts:
        said = Text("whole", style="green") if one.sound else Text("\n".join(one.problems), style="bold red")
        shown.add_row(one.name, size(one.bytes), str(one.files), said)
    return shown


def pruned(uri: str, gone: Sequence[Entry], deleted: bool) -> Group:
    if not gone:
        return Group(f"{uri}: nothing to delete")
    shown = Table(title=uri, title_justify="left", title_style="bold")
    shown.add_column("checkpoint")
    shown.add_column("size", justify="right")
    shown.add_column("")
    for entry in gone:
        shown.add_row(entry.name, size(entry.bytes), "" if entry.finished else "never finished")
    total = size(sum(entry.bytes for entry in gone))
    return Group(shown, f"{'deleted' if deleted else 'would be deleted, with --yes'}: {len(gone)}, {total}")


def size(count: int) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def duration(seconds: float) -> str:
    hours, minutes = int(seconds // 3600), int(seconds % 3600 // 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {int(seconds % 60):02} s"
