"""Where everything of a picture stands: a band for each layer, the layers' components packed into it, cards in those.

All lengths are in SVG user units, which a browser shows as CSS pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from trainyard.cli.architecture.kinds import FAMILIES, Family
from trainyard.cli.architecture.layers import LAYERS, Layer
from trainyard.cli.architecture.model import Card, Component, Part, Picture

MARGIN = 32
HEADER_HEIGHT = 76
LEGEND_HEIGHT = 46
UNITS = 8
UNIT = 208  # what a component of one card is wide
GAP = 14
BAND_PADDING = 16
BAND_HEAD = 46
BAND_GAP = 22
BOX_PADDING = 12
BOX_HEAD = 34
FACT_LINE = 16
CARD_GAP = 8
CARD_PADDING = 10
CARD_HEAD = 36
LINE = 16
CHIP_HEIGHT = 20
CHIP_GAP = 5
FOOT_LINE = 16
WIDTH = UNITS * UNIT + (UNITS - 1) * GAP + 2 * BAND_PADDING

_NARROW, _WIDE = set("iljtfr.,:;'|!()[]/- "), set("mwMW@%—→↔")


def text_width(text: str, size: float, bold: bool = False) -> float:
    """About how wide a text is in a common sans-serif face; an SVG has no fonts of its own to ask."""
    ems = sum(
        0.31 if char in _NARROW else 0.86 if char in _WIDE else 0.68 if char.isupper() else 0.565 for char in text
    )
    return ems * size * (1.06 if bold else 1)


def fitted(text: str, width: float, size: float, bold: bool = False) -> str:
    """The text, cut with an ellipsis where it would be wider than `width`."""
    if text_width(text, size, bold) <= width:
        return text
    while text and text_width(f"{text}…", size, bold) > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


def wrapped(text: str, width: float, size: float, most: int) -> list[str]:
    """The text in at most that many lines, broken between words; the last one is cut where it has to be."""
    lines: list[str] = []
    rest = text.split(" ")
    while rest and len(lines) < most - 1:
        count = 1
        while count < len(rest) and text_width(" ".join(rest[: count + 1]), size) <= width:
            count += 1
        lines.append(fitted(" ".join(rest[:count]), width, size))
        rest = rest[count:]
    return [*lines, fitted(" ".join(rest), width, size)] if rest else lines


@dataclass
class Label:
    """A small label with a tooltip."""

    x: float
    y: float
    width: float
    text: str
    tooltip: str


@dataclass
class CardView:
    card: Card
    family: Family
    x: float
    y: float
    width: float
    height: float
    name: str
    tells: str
    labels: list[Label]


@dataclass
class Box:
    """A component. Lines of text have their baseline at y."""

    component: Component
    colour: str
    title: str
    x: float = 0
    y: float = 0
    width: float = 0
    height: float = 0
    facts: list[tuple[float, float, str]] = field(default_factory=list)
    cards: list[CardView] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    foot: list[tuple[float, float, str]] = field(default_factory=list)

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height


@dataclass
class Band:
    layer: Layer
    x: float
    y: float
    width: float
    height: float
    boxes: list[Box]
    resources: int


@dataclass
class Drawing:
    width: float
    height: float
    bands: list[Band]


def arrange(picture: Picture) -> Drawing:
    """Places everything: the layers from top to bottom, each on those it stands on."""
    titles = {component.urn: component.title for component in picture.components}
    uses: dict[str, list[str]] = {}
    for use in picture.uses:
        if use.user in titles and use.used in titles:
            uses.setdefault(use.user, []).append(titles[use.used])
    bands: list[Band] = []
    top: float = MARGIN + HEADER_HEIGHT
    for key, layer in LAYERS.items():
        components = [component for component in picture.components if component.layer == key]
        if not components:
            continue
        boxes, height = _packed([partial(_box, one, uses=uses.get(one.urn, [])) for one in components])
        for box in boxes:
            _move(box, MARGIN + BAND_PADDING, top + BAND_HEAD)
        whole = BAND_HEAD + height + BAND_PADDING
        resources = sum(component.resources for component in components)
        bands.append(Band(layer, MARGIN, top, WIDTH, whole, boxes, resources))
        top += whole + BAND_GAP
    return Drawing(WIDTH + 2 * MARGIN, top + LEGEND_HEIGHT, bands)


def _packed(makers: Sequence[Callable[[int], Box]]) -> tuple[list[Box], float]:
    """Boxes beside and below each other without a hole that one of them would fill, and the height they need.

    Each box can have several widths; those are taken with which the whole is lowest.
    """
    choices = [[make(units) for units in range(1, UNITS + 1)] for make in makers]
    # The smallest width at which a box is not much taller than broad, to begin with.
    chosen = [next((i for i, box in enumerate(row) if box.height <= 1.1 * box.width), UNITS - 1) for row in choices]
    chosen = [min(index, _most_units(row[0].component) - 1) for index, row in zip(chosen, choices, strict=True)]
    best = _placed([row[index] for row, index in zip(choices, chosen, strict=True)])
    for _ in range(4):
        before = best[0]
        for position, row in enumerate(choices):
            for index in range(_most_units(row[0].component)):
                trial = [*chosen[:position], index, *chosen[position + 1 :]]
                found = _placed([other[at] for other, at in zip(choices, trial, strict=True)])
                if found[0] < best[0] - 0.5:
                    best, chosen = found, trial
        if best[0] == before:
            break
    boxes = [row[index] for row, index in zip(choices, chosen, strict=True)]
    for index, (left, top) in enumerate(best[1]):
        _move(boxes[index], left * (UNIT + GAP), top)
    return boxes, best[0]


def _most_units(component: Component) -> int:
    """How wide a component could sensibly be."""
    text = sum(len(fact) for fact in component.facts)
    return max(1, min(UNITS // 2, max(len(component.cards), 2 if text > 90 else 1)))


def _placed(boxes: Sequence[Box]) -> tuple[float, list[tuple[int, float]]]:
    """The height of all, and each box's column and top: the tallest first, each as high as there is room."""
    filled = [0.0] * UNITS
    places: dict[int, tuple[int, float]] = {}
    order = sorted(range(len(boxes)), key=lambda index: (-boxes[index].height * boxes[index].width, index))
    for index in order:
        units = round((boxes[index].width + GAP) / (UNIT + GAP))
        tops = [(max(filled[left : left + units]), left) for left in range(UNITS - units + 1)]
        top, left = min(tops)
        places[index] = (left, top)
        for column in range(left, left + units):
            filled[column] = top + boxes[index].height + GAP
    return max(filled) - GAP, [places[index] for index in range(len(boxes))]


def _box(component: Component, units: int, uses: Sequence[str]) -> Box:
    width = units * UNIT + (units - 1) * GAP
    room = width - 2 * BOX_PADDING
    count = text_width(f"{component.resources}", 11) + 8
    box = Box(component, _colour(component), fitted(component.title, room - 12 - count, 14, bold=True), width=width)
    top: float = BOX_HEAD
    for fact in component.facts:
        for line in wrapped(fact, room, 11.5, most=6):
            top += FACT_LINE
            box.facts.append((BOX_PADDING, top - 4, line))
    top += 6 if box.facts else 2
    columns = max(1, min(units, len(component.cards)))
    card_width = (room - (columns - 1) * CARD_GAP) / columns
    for start in range(0, len(component.cards), columns):
        row = [_card(card, card_width) for card in component.cards[start : start + columns]]
        for position, view in enumerate(row):
            view.height = max(one.height for one in row)
            _shift(view, BOX_PADDING + position * (card_width + CARD_GAP), top)
        box.cards += row
        top += row[0].height + CARD_GAP
    if component.counted:
        box.labels, top = _labels(component.counted, room, BOX_PADDING, top)
        top += 8
    if uses:
        for line in wrapped("on " + ", ".join(uses), room - 14, 11, most=3):
            top += FOOT_LINE
            box.foot.append((BOX_PADDING + 14, top - 5, line))
    box.height = top + 6
    return box


def _card(card: Card, width: float) -> CardView:
    room = width - 2 * CARD_PADDING
    top = CARD_PADDING + CARD_HEAD + (LINE if card.tells else 0)
    labels, bottom = _labels(sorted(card.parts, key=_part_order), room, CARD_PADDING, top - 2)
    return CardView(
        card=card,
        family=FAMILIES[card.kind.family],
        x=0,
        y=0,
        width=width,
        height=(bottom if labels else top - 6) + CARD_PADDING,
        name=fitted(card.name, room - 36 - (16 if card.encrypted else 0), 12.5, bold=True),
        tells=fitted(card.tells, room, 11),
        labels=labels,
    )


def _part_order(part: Part) -> tuple[bool, str, str]:
    return (part.title.startswith("→"), part.title.lower(), part.tooltip)


def _labels(parts: Sequence[Part], room: float, x: float, top: float) -> tuple[list[Label], float]:
    """Labels in rows, and where they end."""
    labels: list[Label] = []
    left = 0.0
    for part in parts:
        text = fitted(part.title, room - 14, 11)
        width = min(room, text_width(text, 11) + 14)
        if left and left + width > room:
            left, top = 0, top + CHIP_HEIGHT + CHIP_GAP
        labels.append(Label(x + left, top, width, text, part.tooltip))
        left += width + CHIP_GAP
    return labels, top + (CHIP_HEIGHT if labels else 0)


def _colour(component: Component) -> str:
    """The colour of the family that most of the component's cards are of."""
    families = [card.kind.family for card in component.cards]
    return FAMILIES[max(sorted(set(families)), key=families.count, default="other")].colour


def _shift(view: CardView, dx: float, dy: float) -> None:
    view.x, view.y = view.x + dx, view.y + dy
    for label in view.labels:
        label.x, label.y = label.x + dx, label.y + dy


def _move(box: Box, dx: float, dy: float) -> None:
    box.x, box.y = box.x + dx, box.y + dy
    for view in box.cards:
        _shift(view, dx, dy)
    for label in box.labels:
        label.x, label.y = label.x + dx, label.y + dy
    box.facts = [(x + dx, y + dy, text) for x, y, text in box.facts]
    box.foot = [(x + dx, y + dy, text) for x, y, text in box.foot]


def all_cards(drawing: Drawing) -> Iterator[CardView]:
    return (view for band in drawing.bands for box in band.boxes for view in box.cards)
