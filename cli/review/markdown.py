"""A review as Markdown, for a comment on a pull request."""

from __future__ import annotations

from jinja2 import Environment as Templates
from jinja2 import PackageLoader, StrictUndefined

from trainyard.cli.review import cost_words, words
from trainyard.cli.review.model import Review

MOST_CHANGES = 100
"""Of an environment, listed one by one."""
LONGEST = 65_000
"""Characters: GitHub takes 65,536."""


def render(review: Review) -> str:
    templates = Templates(
        loader=PackageLoader("trainyard.cli.review", "."),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701  # Markdown, not HTML: _cell and _fenced guard what is not ours
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"cell": _cell, "fenced": _fenced}
    text = _rendered(templates, review, cost_in_full=True)
    if len(text) > LONGEST:
        text = _rendered(templates, review, cost_in_full=False)
    if len(text) <= LONGEST:
        return text
    return text[:LONGEST] + "\n\n… cut here: the whole of it is in the other formats.\n"


def _rendered(templates: Templates, review: Review, *, cost_in_full: bool) -> str:
    return templates.get_template("comment.md.j2").render(
        review=review,
        cost_in_full=cost_in_full,
        most=MOST_CHANGES,
        conclusion=words.conclusion(review),
        verdict=words.verdict,
        counted=words.counted,
        cost=cost_words,
        controls=words.controls,
        finding_line=words.finding_line,
        noted_line=words.noted_line,
        property_line=words.property_line,
        residency_lines=words.residency_lines,
        resource_line=words.resource_line,
        together=words.together,
    )


def _cell(text: str) -> str:
    """On one line, and without what Markdown or HTML would take for markup."""
    for character, written in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("`", "'"), ("*", "\\*"), ("@", "@\u200b")):
        text = text.replace(character, written)
    return " ".join(text.split())


def _fenced(text: str) -> str:
    return text.replace("```", "'''")
