"""What happened can be read later, and for as long as it must be."""

from __future__ import annotations
