"""Where everything of a picture stands: boxes in columns by who uses whom, cards in them, arrows between them.

All lengths are in SVG user units, which a browser shows as CSS pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import networkx as nx

from trainyard.cli.architecture.kinds import FAMILIES, Family
from trainyard.cli.architecture.model import Card, Component, Part, Picture, Use

MARGIN = 36
HEADER_HEIGHT = 92
LEGEND_HEIGHT = 64
GUTTER = 140  # between columns of boxes: arrows and their labels
ROW_GAP = 28
CARD_WIDTH = 210  # at least
CARD_GAP = 12
BOX_PADDING = 14
BOX_HEAD = 44
CARD_PADDING = 12
CARD_HEAD = 34
LINE = 17
CHIP_HEIGHT = 19
CHIP_GAP = 5
CHANNEL = 14  # between arrows that run side by side
MOST_COLUMNS = 4
MOST_EMPTY = 0.2  # part of a box's grid of cards
WANTED_RATIO = 1.3  # width to height: a page's, so that it can be read at the width of one

_NARROW, _WIDE = set("iljtfr.,:;'|!()[]/- "), set("mwMW@%—→")


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


@dataclass
class Chip:
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
    chips: list[Chip]


@dataclass
class Box:
    component: Component
    colour: str
    x: float = 0
    y: float = 0
    width: float = 0
    height: float = 0
    cards: list[CardView] = field(default_factory=list)
    inner: list[Box] = field(default_factory=list)

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def middle(self) -> float:
        return self.y + self.height / 2

    def everything(self) -> list[Box]:
        return [self, *(box for inner in self.inner for box in inner.everything())]


@dataclass
class Arrow:
    """A line from the user to what it uses. `head` is the tip's point, `label` stands on the user's end."""

    path: str
    head: tuple[float, float]
    points_left: bool
    label: str
    label_x: float
    label_y: float
    label_width: float
    tooltip: str


@dataclass
class Drawing:
    width: float
    height: float
    boxes: list[Box]
    arrows: list[Arrow]


def arrange(picture: Picture) -> Drawing:
    """Places everything. What is used stands left of what uses it; the number of card columns is chosen so that the
    whole comes near the wanted ratio."""
    columns = _columns(picture)
    by_urn = {component.urn: component for component in picture.components}
    choices = [range(1, min(MOST_COLUMNS, max(_weight(by_urn[urn]) for urn in column)) + 1) for column in columns]
    best: tuple[float, list[list[Box]]] | None = None
    for widths in itertools.product(*choices):
        placed = [
            _column([by_urn[urn] for urn in column], count) for column, count in zip(columns, widths, strict=True)
        ]
        width, height = _extent(placed)
        misfit = abs(width / max(height, 1) - WANTED_RATIO) + width * height / 4e6
        if best is None or misfit < best[0] - 1e-9:
            best = (misfit, placed)
    placed = best[1] if best else []
    width, height = _extent(placed)
    _align(placed, height)
    boxes = {box.component.urn: box for column in placed for box in column}
    arrows, lanes = _arrows(_shown_uses(picture), placed, boxes, MARGIN + HEADER_HEIGHT + height)
    return Drawing(
        width=max(width + 2 * MARGIN, 760),
        height=height + HEADER_HEIGHT + LEGEND_HEIGHT + 2 * MARGIN + lanes,
        boxes=[box for column in placed for box in column],
        arrows=arrows,
    )


def _uses_graph(picture: Picture) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from(component.urn for component in picture.components)
    graph.add_edges_from((use.user, use.used) for use in picture.uses)
    return graph


def _columns(picture: Picture) -> list[list[str]]:
    """Components by how long the longest chain of uses below them is; those that use each other stand together."""
    graph = _uses_graph(picture)
    groups = nx.condensation(graph)
    depth: dict[int, int] = {}
    for group in nx.topological_sort(groups.reverse(copy=False)):
        depth[group] = 1 + max((depth[below] for below in groups.successors(group)), default=-1)
    columns: list[list[str]] = [[] for _ in range(1 + max(depth.values(), default=-1))]
    for group in sorted(groups, key=lambda one: min(_members(groups, one))):
        columns[depth[group]] += sorted(_members(groups, group))
    for index, column in enumerate(columns[1:], start=1):
        place = {urn: position for position, urn in enumerate(columns[index - 1])}
        users = {urn: [place[used] for used in graph.successors(urn) if used in place] for urn in column}
        weight = {component.urn: _weight(component) for component in picture.components}
        # Near what it uses; among equals those that are used further on, and then the largest, go first.
        column.sort(key=lambda urn: (_mean(users[urn]), graph.in_degree(urn) > 0, -weight[urn], urn))
    return columns


def _members(groups: nx.DiGraph, group: int) -> set[str]:
    return groups.nodes[group]["members"]


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else 0


def _weight(component: Component) -> int:
    """How many cards wide a component could sensibly be."""
    return max([1, len(component.cards), *(_weight(inner) for inner in component.inner)])


def _shown_uses(picture: Picture) -> list[Use]:
    """The uses that others do not imply: who uses what uses the keys is seen to need the keys."""
    graph = _uses_graph(picture)
    if not nx.is_directed_acyclic_graph(graph):
        return list(picture.uses)
    kept = nx.transitive_reduction(graph)
    return [use for use in picture.uses if kept.has_edge(use.user, use.used)]


def _column(components: Sequence[Component], count: int) -> list[Box]:
    """Boxes of equal width below each other, `count` cards wide at most."""
    width = count * CARD_WIDTH + (count - 1) * CARD_GAP + 2 * BOX_PADDING
    boxes = []
    top = 0.0
    for component in components:
        box = _box(component, width, count)
        _move(box, 0, top)
        top += box.height + ROW_GAP
        boxes.append(box)
    return boxes


def _box(component: Component, width: float, count: int) -> Box:
    box = Box(component, _colour(component), width=width)
    room = width - 2 * BOX_PADDING
    top: float = BOX_HEAD
    columns = _even(len(component.cards), count)
    card_width = (room - (columns - 1) * CARD_GAP) / columns
    for start in range(0, len(component.cards), columns):
        row = [_card(card, card_width) for card in component.cards[start : start + columns]]
        for position, view in enumerate(row):
            view.height = max(one.height for one in row)
            _shift(view, BOX_PADDING + position * (card_width + CARD_GAP), top)
        box.cards += row
        top += row[0].height + CARD_GAP
    for inner in component.inner:
        nested = _box(inner, room, max(1, count))
        _move(nested, BOX_PADDING, top)
        box.inner.append(nested)
        top += nested.height + CARD_GAP
    box.height = top - CARD_GAP + BOX_PADDING
    return box


def _even(cards: int, most: int) -> int:
    """How many cards go in a row: as many as may, if that leaves little of the last row empty."""
    empty = {count: (-cards % count) / (cards + -cards % count or 1) for count in range(1, most + 1)}
    return max(count for count in empty if empty[count] <= MOST_EMPTY)


def _card(card: Card, width: float) -> CardView:
    room = width - 2 * CARD_PADDING
    chips, height = _chips(card.parts, room, CARD_PADDING + CARD_HEAD + (LINE if card.tells else 0))
    return CardView(
        card=card,
        family=FAMILIES[card.kind.family],
        x=0,
        y=0,
        width=width,
        height=height,
        name=fitted(card.name, room - 38 - (18 if card.encrypted else 0), 13, bold=True),
        tells=fitted(card.tells, room, 11),
        chips=chips,
    )


def _chips(parts: Sequence[Part], room: float, top: float) -> tuple[list[Chip], float]:
    """The labels of a card's parts in rows, and the height of the card with them."""
    chips: list[Chip] = []
    left = 0.0
    top += 4
    for part in sorted(parts, key=lambda part: (part.title.startswith("→"), part.title.lower(), part.tooltip)):
        text = fitted(part.title, room - 16, 10)
        width = text_width(text, 10) + 15
        if left and left + width > room:
            left, top = 0, top + CHIP_HEIGHT + CHIP_GAP
        chips.append(Chip(CARD_PADDING + left, top, width, text, part.tooltip))
        left += width + CHIP_GAP
    return chips, top + (CHIP_HEIGHT if chips else -4) + CARD_PADDING


def _colour(component: Component) -> str:
    """The colour of the family that most of the component's cards are of."""
    families = [card.kind.family for card in component.all_cards()]
    return FAMILIES[max(sorted(set(families)), key=families.count, default="other")].colour


def _shift(view: CardView, dx: float, dy: float) -> None:
    view.x, view.y = view.x + dx, view.y + dy
    for chip in view.chips:
        chip.x, chip.y = chip.x + dx, chip.y + dy


def _move(box: Box, dx: float, dy: float) -> None:
    box.x, box.y = box.x + dx, box.y + dy
    for view in box.cards:
        _shift(view, dx, dy)
    for inner in box.inner:
        _move(inner, dx, dy)


def _extent(columns: Sequence[Sequence[Box]]) -> tuple[float, float]:
    width = sum(column[0].width for column in columns) + GUTTER * max(0, len(columns) - 1)
    return width, max((_height(column) for column in columns), default=0)


def _height(column: Sequence[Box]) -> float:
    return sum(box.height for box in column) + ROW_GAP * (len(column) - 1)


def _align(columns: Sequence[Sequence[Box]], height: float) -> None:
    """Columns beside each other, each in the middle of the height."""
    left: float = MARGIN
    for column in columns:
        top = MARGIN + HEADER_HEIGHT + (height - _height(column)) / 2
        for box in column:
            _move(box, left, top)
        left += column[0].width + GUTTER


def _arrows(
    uses: Sequence[Use], columns: Sequence[Sequence[Box]], boxes: dict[str, Box], bottom: float
) -> tuple[list[Arrow], float]:
    """Lines with right angles. All that lead to one box share its port and a channel before it, like a tree; those that
    pass over a column go below everything. Gives them and the height that they take below."""
    column_of = {box.component.urn: index for index, column in enumerate(columns) for box in column}
    ports = _ports(uses, boxes)
    channels: dict[tuple[int, str], float] = {}
    arrows: list[Arrow] = []
    lane = 0.0
    for use in uses:
        user, used = boxes[use.user], boxes[use.used]
        start_y, end_y = ports[use.user, use.used], used.middle
        here, there = column_of[use.user], column_of[use.used]
        # Between columns of one pass, the channel lies in the gutter right of what is used.
        gutter = there if here > there else here - 1
        key = (gutter, use.used)
        if key not in channels:
            taken = sum(1 for other, _ in channels if other == gutter)
            edge = columns[gutter][0].right if gutter >= 0 else MARGIN / 4
            channels[key] = edge + 24 + CHANNEL * taken
        channel = channels[key]
        if here == there:
            corners = [(user.x, start_y), (channel, start_y), (channel, end_y), (used.x, end_y)]
        elif here - there == 1:
            corners = [(user.x, start_y), (channel, start_y), (channel, end_y), (used.right, end_y)]
        else:
            lane += CHANNEL
            before, low = user.x - 20, bottom + lane
            corners = [(user.x, start_y), (before, start_y), (before, low), (channel, low)]
            corners += [(channel, end_y), (used.right, end_y)]
        room = user.x - channel - 22 if here != there else 0
        label = fitted(use.what, max(room, 60), 10.5)
        width = text_width(label, 10.5) + 16
        arrows.append(
            Arrow(
                path=_rounded(corners),
                head=corners[-1],
                points_left=here != there,
                label=label,
                label_x=user.x - 8 - width if here != there else channel - width / 2,
                label_y=start_y,
                label_width=width,
                tooltip=f"{user.component.title} uses {use.what} of {used.component.title}",
            )
        )
    return arrows, lane


def _ports(uses: Sequence[Use], boxes: dict[str, Box]) -> dict[tuple[str, str], float]:
    """Where each line leaves its user: spread over the side, in the order of where they lead, straight if it can be."""
    ports = {}
    for user, group in itertools.groupby(sorted(uses, key=lambda use: use.user), key=lambda use: use.user):
        box = boxes[user]
        ends = sorted(group, key=lambda use: boxes[use.used].middle)
        step = box.height / (len(ends) + 1)
        for position, use in enumerate(ends, start=1):
            ports[use.user, use.used] = box.y + step * position
        if len(ends) == 1 and box.y + 24 <= boxes[ends[0].used].middle <= box.y + box.height - 24:
            ports[user, ends[0].used] = boxes[ends[0].used].middle
    return ports


def _rounded(corners: Sequence[tuple[float, float]], radius: float = 10) -> str:
    """A line through right-angled corners, rounded where there is room for it."""
    path = [f"M{corners[0][0]:.1f} {corners[0][1]:.1f}"]
    for (ax, ay), (bx, by), (cx, cy) in zip(corners, corners[1:], corners[2:], strict=False):
        bend = min(radius, (abs(ax - bx) + abs(ay - by)) / 2, (abs(cx - bx) + abs(cy - by)) / 2)
        path.append(f"L{bx + _sign(ax - bx) * bend:.1f} {by + _sign(ay - by) * bend:.1f}")
        path.append(f"Q{bx:.1f} {by:.1f} {bx + _sign(cx - bx) * bend:.1f} {by + _sign(cy - by) * bend:.1f}")
    path.append(f"L{corners[-1][0]:.1f} {corners[-1][1]:.1f}")
    return " ".join(path)


def _sign(number: float) -> int:
    return (number > 0) - (number < 0)
