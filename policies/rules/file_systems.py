"""File systems: under keys of the team's own, and found in a backup."""

from __future__ import annotations
