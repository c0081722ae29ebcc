"""Nothing runs up a bill unseen."""

from __future__ import annotations
