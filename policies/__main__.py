"""What the engine runs for `--policy-pack policies`: serves the rules until the engine is done."""

import sys
from pathlib import Path

if __name__ == "__main__":
    try:
        from trainyard.policies.pack import serve
    except ModuleNotFoundError as missing:
        sys.exit(
            f"The policy pack needs the Python package {missing.name!r}, which {sys.executable} does not have. "
            "Install trainyard there (`pip install -e .` in the repository), or run pulumi from its environment."
        )
    serve(Path(__file__).parent)
