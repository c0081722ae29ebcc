"""Data of a class stays in its jurisdiction: copies, replicas, logs, backups, peerings, images, endpoints."""

from __future__ import annotations
