"""Processes that die on their way."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable


def killed(run: Callable[[], object]) -> None:
    """Run something in a process of its own, which must not come to its end but kill itself."""
    process = os.fork()
    if process == 0:
        try:
            run()
        except BaseException:  # noqa: BLE001  # told, for nobody else sees what this process raises
            traceback.print_exc()
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(process, 0)[1]) == signal.SIGKILL


def die(*_: object) -> None:
    """Die as by the kernel's out-of-memory killer."""
    os.kill(os.getpid(), signal.SIGKILL)
