"""Ctrl-C that ends a run in order."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType, TracebackType


class Interrupt:
    """Context in which the first SIGINT or SIGTERM only sets a flag; a second one acts at once.

    Outside the main thread, where Python delivers no signals, the flag stays down.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.requested = False
        self._former: dict[signal.Signals, object] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            # A signal that the process ignores stays ignored: workers of a comparison leave
            # Ctrl-C, which reaches all of them, to their parent.
            heard = [s for s in self.SIGNALS if signal.getsignal(s) != signal.SIG_IGN]
            self._former = {each: signal.signal(each, self._note) for each in heard}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        if number == signal.SIGINT:
            note = "stopping after the step in progress; Ctrl-C again stops at once"
            print(f"\n{note}", file=sys.stderr, flush=True)
        self._restore()

    def _restore(self) -> None:
        for each, handler in self._former.items():
            signal.signal(each, handler)  # type: ignore[arg-type]
        self._former = {}
