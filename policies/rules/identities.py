"""Identities may do what their work needs, and cannot give themselves more."""

from __future__ import annotations
