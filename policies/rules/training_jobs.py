"""Training that loses a node loses little."""

from __future__ import annotations
