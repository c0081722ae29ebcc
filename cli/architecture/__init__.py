"""An architecture picture from the actual resource graph: what `pulumi stack export` gives, as one standalone SVG.

    draw(Path("architecture.svg"), json.loads(export))

The stacks of an environment that is split into layers give one picture together.

The same graph gives the same bytes, whatever the order in which the export lists it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jinja2 import Environment, StrictUndefined

from trainyard.cli.architecture.kinds import FAMILIES, Family
from trainyard.cli.architecture.layout import MARGIN, Drawing, arrange, text_width
from trainyard.cli.architecture.model import NotAnExportError, Picture, read

__all__ = ["Mark", "NotAnExportError", "draw", "svg"]


@dataclass(frozen=True)
class Mark:
    """Drawn on a card or a component: a word or two, and the colour of its frame."""

    text: str
    colour: str


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


def draw(target: Path, *exports: Mapping[str, Any]) -> None:
    """Writes the SVG of exported states. Raises NotAnExportError where one of them is none."""
    target.write_text(svg(*exports), encoding="utf-8")


def svg(*exports: Mapping[str, Any], marks: Mapping[str, Mark] = MappingProxyType({})) -> str:
    """The SVG of exported states, as text, with what `marks` say of cards and components, by URN.

    Raises NotAnExportError where one of them is none.
    """
    picture = read(*exports)
    drawing = arrange(picture)
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
        subtitle=f"{_count(picture.resources)} in {components}, drawn from the deployed state; "
        "hover for the resource behind each label",
        says={band.layer.title: text_width(band.layer.title, 18, bold=True) for band in drawing.bands},
        badges=_badges(picture, drawing),
        legend=_legend(picture, drawing),
        marks=marks,
    )


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _count(resources: int) -> str:
    return f"{resources} resource{'' if resources == 1 else 's'}"


def _description(picture: Picture) -> str:
    """The picture in words, for those who cannot see it."""
    titles = {component.urn: component.title for component in picture.components}
    sentences = []
    for component in picture.components:
        told = f" ({'; '.join(component.facts)})" if component.facts else ""
        sentences.append(f"{component.title}: {_count(component.resources)}{told}.")
    sentences += [f"{titles[use.user]} uses {use.what} of {titles[use.used]}." for use in picture.uses]
    return " ".join(sentences)


def _badges(picture: Picture, drawing: Drawing) -> list[_Badge]:
    """Region and keys, from the right edge inwards."""
    stores = [card for component in picture.components for card in component.cards if card.encrypted]
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
    cards = [card for component in picture.components for card in component.cards]
    used = {card.kind.family for card in cards}
    labels = any(component.counted for component in picture.components) or any(card.parts for card in cards)
    items: list[tuple[str, Family | None, str]] = [
        *[(family.title, family, "") for name, family in FAMILIES.items() if name in used],
        *([("stands on, by what it uses", None, "uses")] if picture.uses else []),
        *([("a setting or part, or several resources", None, "label")] if labels else []),
        *([("under a key of the team", None, "own")] if any(card.encrypted == "own" for card in cards) else []),
        *([("under a key of AWS", None, "aws")] if any(card.encrypted == "aws" for card in cards) else []),
    ]
    legend = []
    left: float = MARGIN
    for text, family, symbol in items:
        legend.append(_LegendItem(left, drawing.height - MARGIN - 10, text, family, symbol))
        left += 24 + text_width(text, 11) + 20
    return legend
