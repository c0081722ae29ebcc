"""A review as one page of HTML that needs nothing beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment as Templates
from jinja2 import PackageLoader, StrictUndefined
from markupsafe import Markup

from trainyard.cli.review import cost_words, words
from trainyard.cli.review.model import Review, Standing
from trainyard.local.changes import Operation

_STANDINGS = (
    (Standing.NEW, "New findings"),
    (Standing.FIXED, "Mended by this change"),
    (Standing.STANDING, "As before"),
)
_FILTERS = (
    (Standing.NEW, "new findings"),
    (Standing.FIXED, "mended"),
    (Standing.STANDING, "as before"),
    (Operation.CREATE, "created"),
    (Operation.UPDATE, "changed"),
    (Operation.REPLACE, "replaced"),
    (Operation.DELETE, "deleted"),
)


def render(review: Review) -> str:
    templates = Templates(
        loader=PackageLoader("trainyard.cli.review", "."),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template("page.html.j2").render(
        review=review,
        conclusion=words.conclusion(review),
        pictures={one.name: _inline(one.picture, one.name) for one in review.environments if one.picture},
        standings=_STANDINGS,
        filters=_FILTERS,
        signs=words.SIGNS,
        verdict=words.verdict,
        counted=words.counted,
        cost=cost_words,
        controls=words.controls,
        kind=words.kind,
        resource_line=words.resource_line,
        whole=_whole,
    )


def _inline(svg: str, name: str) -> Markup:
    """The picture, whose ids must not meet those of another environment's on the same page."""
    for own in ("title", "description"):
        svg = svg.replace(f'id="{own}"', f'id="{name}-{own}"')
    return Markup(svg.replace('"title description"', f'"{name}-title {name}-description"'))  # noqa: S704  # escaped there


def _whole(raw: Any) -> str:
    """A value at full length: here there is room for it."""
    if raw is None:
        return "–"
    if isinstance(raw, Mapping | list):
        return json.dumps(raw, indent=1, ensure_ascii=False, sort_keys=True)
    return raw if isinstance(raw, str) else json.dumps(raw)
