"""`python -m gleitzeit` runs the program `gleitzeit` of the same installation."""

from __future__ import annotations

import os
import sys

from ._program import ProgramNotFound, find


def main() -> int:
    """Replaces this process by the program; returns only if it cannot be started."""
    try:
        program = find()
        os.execv(program, [program, *sys.argv[1:]])
    except (ProgramNotFound, OSError) as error:
        print(f"python -m gleitzeit: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
