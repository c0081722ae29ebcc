"""Every rule in the real engine."""
