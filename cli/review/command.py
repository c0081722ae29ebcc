"""The command: which revisions, which environments, which formats."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from trainyard.cli import environments, output
from trainyard.cli.progress import step
from trainyard.policies import yaml_document

if TYPE_CHECKING:
    from trainyard.cli.review.model import Environment, Review
    from trainyard.local.review import Comparison, Source

WORKING_TREE = "working tree"
LAID_OUT = "base"
"""What the folder with the earlier revision is for."""


BaseOf = Callable[[str, "Source"], "Source | None"]
Compared = Callable[[str, "Source", Callable[[str], None]], "Comparison"]


BASE = "HEAD"
"""What is compared with, unless something else is asked for."""


class Format(StrEnum):
    TEXT = "text"
    MARKDOWN = "markdown"
    HTML = "html"
    SARIF = "sarif"
    JUNIT = "junit"
    JSON = "json"


FILES = {
    Format.TEXT: "review.txt",
    Format.MARKDOWN: "review.md",
    Format.HTML: "review.html",
    Format.SARIF: "review.sarif",
    Format.JUNIT: "review.xml",
    Format.JSON: "review.json",
}


def review(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[ENV]...", help="Environments; without any, all there are.")
    ] = None,
    base: Annotated[
        str, typer.Option(metavar="REF|FILE", help="What to compare with: a revision, or another settings file.")
    ] = BASE,
    state: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Compare one environment with its exported state: pulumi stack export."),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Try another setting on the later side, as for preview."),
    ] = None,
    format_: Annotated[Format, typer.Option("--format", help="Of what is printed.")] = Format.TEXT,
    folder: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Write every format into this folder as well.")
    ] = None,
) -> None:
    """Compare two revisions for each environment: what changes, what is lost, what the policies say before and after.

    The earlier revision is brought up in a throw-away emulated account; the later one is previewed and applied on top.
    Needs neither credentials nor a network. Exit status: 0 nothing new, 1 new violations, 2 bad settings or no such
    revision, 3 something new cannot be verified, or a side does not come up.
    """
    from trainyard.cli.review import judging
    from trainyard.cli.review.model import Review
    from trainyard.local import scratch, toolchain
    from trainyard.local.paths import require_checkout
    from trainyard.policies.in_force import in_force

    root = require_checkout()
    in_force().require_order()
    asked = list(dict.fromkeys(names or ())) or environments.names(root)
    for name in asked:
        environments.environment_file(name, root)
    if state is not None and len(asked) != 1:
        raise environments.SettingsError(f"--state is of one environment; name it: {', '.join(asked)}")
    if _is_settings_file(base) and len(asked) != 1:
        raise environments.SettingsError(f"{base} is of one environment; name it: {', '.join(asked)}")
    exported = _exported(state, root, asked[0]) if state is not None else None
    if folder is not None:
        _make(folder)
    with step("tools") as shown:
        for tool in toolchain.TOOLS:
            toolchain.find_all(tool, shown.show)
    for left in scratch.left_behind(LAID_OUT):
        shutil.rmtree(left, ignore_errors=True)
    with scratch.folder(LAID_OUT) as laid_out:
        judged_otherwise, gone, ahead = (), (), 0
        if state is not None and exported is not None:
            kept = _kept_at(base, root, laid_out)
            label, compared = str(state), partial(_with_state, exported, str(state), kept)
        else:
            label, base_of, ahead = _base(base, root, laid_out)
            compared = partial(_with_base, base_of)
            if not _is_settings_file(base):
                judged_otherwise = judging.changed(laid_out, root)
                gone = () if names else tuple(sorted({*environments.names(laid_out)} - {*asked}))
        each = tuple(_each(asked, root, changes or [], compared))
        found = Review(label, WORKING_TREE, each, judged_otherwise, applied=state is None, gone=gone, ahead=ahead)
    if folder is not None:
        for one, name in FILES.items():
            (folder / name).write_text(_rendered(found, one), encoding="utf-8")
    if format_ is Format.TEXT:
        from trainyard.cli.review import text

        text.show(found, Console(highlight=False, soft_wrap=True))
    else:
        typer.echo(_rendered(found, format_), nl=False)
    if folder is not None:
        output.complain(f"in {folder}: {', '.join(FILES.values())}")
    raise typer.Exit(found.exit_status)


def _make(folder: Path) -> None:
    """Before the work begins, which takes minutes. Raises `SettingsError` where there can be no such folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass  # and it can be written to
    except OSError as failed:
        raise environments.SettingsError(
            f"--output {folder} cannot be a folder to write to: {failed.strerror}; give another"
        ) from None


def _is_settings_file(reference: str) -> bool:
    return Path(reference).suffix in (".yaml", ".yml")


def _base(reference: str, root: Path, laid_out: Path) -> tuple[str, BaseOf, int]:
    """What the earlier side is called, how an environment is there, and how many commits it has that are not in this
    branch. Raises `RevisionError`."""
    from trainyard.local import revision
    from trainyard.local.review import Source

    if _is_settings_file(reference):
        file = Path(reference)
        return str(file), lambda name, _: Source(str(file), root, *environments.read(name, file), file), 0
    commit = revision.lay_out(root, reference, laid_out)
    label = f"{reference} ({commit[:7]})"

    def at_revision(name: str, head: Source) -> Source | None:
        if not (laid_out / "stacks" / "environments" / f"Pulumi.{name}.yaml").is_file():
            return None  # the change brings the environment
        values = environments.read_values(environments.environment_file(name, laid_out))
        return Source(label, laid_out, values, environments.nearest(name, values, head.values))

    return label, at_revision, revision.ahead(root, commit)


def _exported(file: Path, root: Path, environment: str) -> dict[str, Any]:
    """Raises `ForeignStateError`, naming the file."""
    from trainyard.cli.policies import document
    from trainyard.local import foreign_state

    kind = "an exported state (pulumi stack export)"
    content = document.parsed(file, kind)
    try:
        project = yaml_document.load((root / "Pulumi.yaml").read_text(encoding="utf-8"))["name"]
        return foreign_state.read(json.dumps(content), project, environment)
    except RecursionError:
        raise foreign_state.ForeignStateError(f"{file} is nested too deeply to be {kind}") from None
    except ValueError as wrong:
        raise foreign_state.ForeignStateError(f"{file}: {wrong}") from None


def _with_base(base_of: BaseOf, name: str, head: Source, tell: Callable[[str], None]) -> Comparison:
    from trainyard.local import review as engine

    base = base_of(name, head)
    return _with_state_places(engine.compare(name, base, head, tell=tell), base, head)


def _kept_at(reference: str, root: Path, laid_out: Path) -> BaseOf:
    """Where the repository said until now that Pulumi keeps its state: an exported state does not say it itself. In a
    folder that is no repository nobody said it."""
    from trainyard.local.revision import RevisionError

    try:
        return _base(reference, root, laid_out)[1]
    except RevisionError:
        if reference != BASE:
            raise
        return lambda *_: None


def _with_state(
    exported: Mapping[str, Any],
    label: str,
    kept_at: BaseOf,
    name: str,
    head: Source,
    tell: Callable[[str], None],
) -> Comparison:
    from trainyard.local import review as engine

    found = engine.compare_with_state(name, exported, label, head, tell=tell)
    return _with_state_places(found, kept_at(name, head), head)


def _with_state_places(found: Comparison, base: Source | None, head: Source) -> Comparison:
    """What is found, with what there is to say of where Pulumi keeps the state."""
    from trainyard.cli import state_places

    before, after = (
        state_places.judged(found.environment, one.project, one.settings, one.file) if one else ()
        for one in (base, head)
    )
    return replace(
        found,
        base=replace(found.base, results=(*found.base.results, *before)),
        head=replace(found.head, results=(*found.head.results, *after)),
    )


def _each(names: list[str], root: Path, changes: list[str], compared: Compared) -> Iterator[Environment]:
    from trainyard.cli.review.model import Environment, environment_of
    from trainyard.local import review as engine
    from trainyard.local.prerequisites import PrerequisiteError
    from trainyard.local.service import ServiceError

    for name in names:
        try:
            file = environments.environment_file(name, root)
            head = engine.Source(WORKING_TREE, root, *environments.read(name, file, changes))
            with step(f"{name}: {head.settings.region}") as shown:
                yield environment_of(compared(name, head, shown.show))
        except environments.SettingsError as wrong:
            yield Environment(name, wrong.region, failure=str(wrong), bad_settings=True)
        except (engine.ReviewError, PrerequisiteError, ServiceError) as failed:
            yield Environment(name, None, failure=str(failed))


def _rendered(found: Review, format_: Format) -> str:
    from trainyard.cli.review import junit, markdown, page, sarif, text

    if format_ is Format.MARKDOWN:
        return markdown.render(found)
    if format_ is Format.HTML:
        return page.render(found)
    if format_ is Format.SARIF:
        return json.dumps(sarif.render(found), indent=2) + "\n"
    if format_ is Format.JUNIT:
        return junit.render(found)
    if format_ is Format.JSON:
        return json.dumps(found.as_json(), indent=2, default=str) + "\n"
    plain = io.StringIO()
    text.show(found, Console(file=plain, highlight=False, soft_wrap=True))
    return plain.getvalue()
