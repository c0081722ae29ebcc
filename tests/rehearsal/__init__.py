"""Programs under the real engine."""
