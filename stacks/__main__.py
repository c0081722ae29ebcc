"""What the Pulumi engine runs for every environment."""

from __future__ import annotations

from trainyard.stacks.architecture import platform
from trainyard.stacks.config import settings_of_this_stack

platform(settings_of_this_stack())
