"""An architecture picture from the actual resource graph: what `pulumi stack export` gives, as one standalone SVG.

    draw(json.loads(export), Path("architecture.svg"))

The same graph gives the same bytes, whatever the order in which the export lists it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from trainyard.cli.architecture.kinds import FAMILIES, Family
from trainyard.cli.architecture.layout import LEGEND_HEIGHT, MARGIN, Drawing, arrange, text_width
from trainyard.cli.architecture.model import Component, NotAnExportError, Picture, read

__all__ = ["NotAnExportError", "draw", "svg"]


@dataclass(frozen=True)
class _Badge:
    x: float
    width: float
    text: str
    fill: str
    colour: str


@dataclass(frozen=True)
class _LegendItem:
    x: float
    y: float
    text: str
    family: Family | None = None
    symbol: str = ""


def draw(export: Mapping[str, Any], target: Path) -> None:
    """Writes the SVG of an exported state. Raises NotAnExportError where `export` is none."""
    target.write_text(svg(export), encoding="utf-8")


def svg(export: Mapping[str, Any]) -> str:
    """The SVG of an exported state, as text. Raises NotAnExportError where `export` is none."""
    picture = read(export)
    drawing = arrange(picture)
    resources = f"{picture.resources} resource{'' if picture.resources == 1 else 's'}"
    components = f"{len(picture.components)} component{'' if len(picture.components) == 1 else 's'}"
    heading = f"{picture.project.capitalize()} · {picture.stack}" if picture.project else "Nothing deployed"
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(
        Path(__file__).with_name("architecture.svg.j2").read_text(encoding="utf-8")
    )
    return template.render(
        n=_number,
        margin=MARGIN,
        drawing=drawing,
        title=f"Architecture of {picture.project} in the environment {picture.stack}",
        description=_description(picture),
        heading=heading,
        subtitle=f"{resources} in {components}, drawn from the deployed state",
        badges=_badges(picture, drawing),
        counts={box.component.urn: _count(box.component) for top in drawing.boxes for box in top.everything()},
        legend=_legend(picture, drawing),
    )


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _count(component: Component) -> str:
    count = sum(1 + len(card.parts) for card in component.all_cards())
    return f"{count} resource{'' if count == 1 else 's'}"


def _description(picture: Picture) -> str:
    """The picture in words, for those who cannot see it."""
    titles = {component.urn: component.title for component in picture.components}
    sentences = [f"{component.title}: {_count(component)}." for component in picture.components]
    sentences += [f"{titles[use.user]} uses {use.what} of {titles[use.used]}." for use in picture.uses]
    return " ".join(sentences)


def _badges(picture: Picture, drawing: Drawing) -> list[_Badge]:
    """Region and keys, from the right edge inwards."""
    stores = [card for component in picture.components for card in component.all_cards() if card.encrypted]
    own = sum(card.encrypted == "own" for card in stores)
    texts = [(picture.region, "#e0e7ff", "#3730a3")] if picture.region else []
    if stores:
        texts.append((f"{own} of {len(stores)} encrypted under own keys", "#dcfce7", "#166534"))
    badges, right = [], drawing.width - MARGIN
    for text, fill, colour in texts:
        width = text_width(text, 13, bold=True) + 30
        right -= width
        badges.append(_Badge(right, width, text, fill, colour))
        right -= 10
    return badges


def _legend(picture: Picture, drawing: Drawing) -> list[_LegendItem]:
    """What the signs mean: only those that are in the picture."""
    cards = [card for component in picture.components for card in component.all_cards()]
    used = {card.kind.family for card in cards}
    rows: list[list[tuple[str, Family | None, str]]] = [
        [(family.title, family, "") for name, family in FAMILIES.items() if name in used],
        [
            *([("uses (what others imply is left out)", None, "arrow")] if drawing.arrows else []),
            *([("setting or part, a resource of its own", None, "chip")] if any(card.parts for card in cards) else []),
            *([("under a key of the team", None, "own")] if any(card.encrypted == "own" for card in cards) else []),
            *([("under a key of AWS", None, "aws")] if any(card.encrypted == "aws" for card in cards) else []),
        ],
    ]
    items = []
    for index, row in enumerate(rows):
        left: float = MARGIN
        for text, family, symbol in row:
            top = drawing.height - MARGIN - LEGEND_HEIGHT + 24 + index * 24
            items.append(_LegendItem(left, top, text, family, symbol))
            left += 24 + text_width(text, 11) + 22
    return items
