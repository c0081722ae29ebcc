"""Which pack a command is about: this repository's, or that of a team which uses the installed package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

if TYPE_CHECKING:
    from trainyard.policies.in_force import InForce

PackOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--pack", metavar="DIR", help="A pack's folder, as for --policy-pack; without it, the one that is shipped."
    ),
]


def chosen_pack(folder: Path | None) -> InForce:
    """What is in force. Raises `BrokenPackError` where something in the folder is not in order."""
    from trainyard.policies.in_force import in_force

    found = in_force(folder.resolve()) if folder is not None else in_force()
    return found.require_order()
