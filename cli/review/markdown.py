"""A review as Markdown, for a comment on a pull request."""

from __future__ import annotations

from dataclasses import dataclass

from jinja2 import Environment as Templates
from jinja2 import PackageLoader, StrictUndefined

from trainyard.cli.review import cost_words, words
from trainyard.cli.review.model import Review
from trainyard.cli.review.text import MOST_LINES

MOST_CHANGES = 100
"""Of an environment, listed one by one."""
LONGEST = 65_000
"""Characters: GitHub takes 65,536."""


@dataclass(frozen=True)
class Detail:
    """How much is told. What takes most room and is read least goes first, where all of it has none."""

    costs: bool = True
    properties: bool = True
    standing: bool = True
    remedies: bool = True

    @property
    def left_out(self) -> list[str]:
        told = (self.costs, self.properties, self.standing, self.remedies)
        return [name for name, there in zip(_NAMED, told, strict=True) if not there]


_NAMED = ("costs in full", "each property that changes", "findings that stood before", "what mends each finding")
_DETAILS = (
    Detail(),
    Detail(costs=False),
    Detail(costs=False, properties=False),
    Detail(costs=False, properties=False, standing=False),
    Detail(costs=False, properties=False, standing=False, remedies=False),
)


def render(review: Review) -> str:
    templates = Templates(
        loader=PackageLoader("trainyard.cli.review", "."),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701  # Markdown, not HTML: _cell and _fenced guard what is not ours
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"cell": _cell, "fenced": _fenced, "code": _code}
    text = ""
    for detail in _DETAILS:
        text = _rendered(templates, review, detail)
        if len(text) <= LONGEST:
            return text
    return _cut(text)


def _rendered(templates: Templates, review: Review, detail: Detail) -> str:
    return templates.get_template("comment.md.j2").render(
        review=review,
        detail=detail,
        most=MOST_CHANGES,
        most_lines=MOST_LINES,
        about_judging=words.about_judging,
        conclusion=words.conclusion(review),
        verdict=words.verdict,
        counted=words.counted,
        cost=cost_words,
        controls=words.controls,
        diff_line=words.diff_line,
        finding_line=words.finding_line,
        how=words.how,
        lost_together=words.lost_together,
        noted_line=words.noted_line,
        property_line=words.property_line,
        residency_lines=words.residency_lines,
        residency_map=words.residency_map,
        together=words.together,
        warnings=words.warnings,
    )


def _cut(text: str) -> str:
    """Between two lines, with what was open there closed: what follows is not part of a table, a code block, or of what
    is folded away."""
    kept = text[:LONGEST].rpartition("\n")[0]
    fenced = sum(line.startswith("```") for line in kept.splitlines()) % 2
    folded = kept.count("<details>") - kept.count("</details>")
    closed = "\n```" * fenced + "\n\n</details>" * folded
    return f"{kept}{closed}\n\n**Cut here**: the page and the JSON have all of it.\n"


def _cell(text: str) -> str:
    """On one line, and without what Markdown or HTML would take for markup."""
    for character, written in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("`", "'"), ("*", "\\*"), ("@", "@\u200b")):
        text = text.replace(character, written)
    return " ".join(text.split())


def _code(text: str) -> str:
    """Between two backticks."""
    return " ".join(text.replace("`", "'").split())


def _fenced(text: str) -> str:
    return text.replace("```", "'''")
