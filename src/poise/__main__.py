"""``poise`` and ``python -m poise``."""

from __future__ import annotations

import sys

INTERRUPTED_EXIT = 130


def main() -> None:
    """Entry point: Ctrl-C is heard while the rest is still being imported."""
    try:
        from poise.cli import main as run
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED_EXIT)
    run()


if __name__ == "__main__":
    main()
