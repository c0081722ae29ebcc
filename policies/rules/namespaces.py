"""Namespaces: a security level, limits, a network policy, and who may do what inside."""

from __future__ import annotations
