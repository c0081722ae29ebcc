"""The cluster: its endpoint, its logs, its secrets, its version, and who may enter."""

from __future__ import annotations
