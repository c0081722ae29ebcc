"""Images come from where they were built, looked through and unchanged."""

from __future__ import annotations
