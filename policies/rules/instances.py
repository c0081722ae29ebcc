"""Instances and their disks: encrypted, without public addresses, without secrets in what starts them."""

from __future__ import annotations
