"""Networks: what may pass, where that is written down, and where they join others."""

from __future__ import annotations
