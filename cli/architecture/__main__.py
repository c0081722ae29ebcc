"""`python -m trainyard.cli.architecture EXPORT.json … PICTURE.svg`: several exports are one environment's layers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from trainyard.cli.architecture import NotAnExportError, draw
from trainyard.cli.architecture.model import read


def main(arguments: list[str]) -> int:
    if len(arguments) < 2:
        print("usage: python -m trainyard.cli.architecture EXPORT.json … PICTURE.svg", file=sys.stderr)
        return 2
    *sources, target = map(Path, arguments)
    exports = []
    try:
        for source in sources:
            export = json.loads(source.read_text(encoding="utf-8"))
            read(export)
            exports.append(export)
        draw(target, *exports)
    except OSError as problem:
        print(f"{problem.filename}: {problem.strerror}", file=sys.stderr)
        return 2
    except (ValueError, NotAnExportError) as problem:
        print(f"{source} is no exported state: {problem}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
