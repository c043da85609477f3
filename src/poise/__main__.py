"""``poise`` and ``python -m poise``."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point: Ctrl-C is heard while the rest is still being imported."""
    try:
        from poise.cli import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
