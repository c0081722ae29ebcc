"""Buckets keep what they are given: versions, logs of access, an end of life, and no strangers."""

from __future__ import annotations
