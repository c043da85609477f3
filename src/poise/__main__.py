"""``poise`` and ``python -m poise``."""

from __future__ import annotations

import os
import signal
from types import FrameType


def main() -> None:
    """Entry point: Ctrl-C ends it in silence while the rest is still being imported.

    A KeyboardInterrupt there may arise inside a callback of JAX's, which swallows it. There is
    nothing to lose yet: the process ends at once.
    """
    former = signal.getsignal(signal.SIGINT)
    if former is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    from poise.cli import main as run

    signal.signal(signal.SIGINT, former)
    run()


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(130)


if __name__ == "__main__":
    main()
