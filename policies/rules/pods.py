"""Pods ask for no more of the node than their work needs."""

from __future__ import annotations
