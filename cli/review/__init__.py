"""`trainyard review`: what a change to the repository, or to a settings file, would do to each environment."""

from trainyard.cli.review.command import review

__all__ = ["review"]
