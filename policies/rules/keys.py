"""Keys are used by those named, and are hard to lose."""

from __future__ import annotations
