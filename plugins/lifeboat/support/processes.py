"""Child processes that cannot outlive the task that started them."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import subprocess
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import IO, cast

PR_SET_PDEATHSIG = 1
F_SETPIPE_SZ = 1031
PIPE_BYTES = 1 << 20
ERROR_LINES_KEPT = 20
WAITING = ("/bin/sh", "-c", 'read -r told && exec "$@"', "sh")  # begins a command that waits for a line
# By these, programs find their files and choose a language. The rest of a worker's environment may hold secrets.
INHERITED = (
    *("HOME", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER"),
    *(f"LC_{name}" for name in ("ALL", "COLLATE", "CTYPE", "MESSAGES", "MONETARY", "NUMERIC", "TIME")),
)

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int) -> None:
    """Make the calling process die by SIGKILL when its parent thread ends, however that ends.

    :param parent: pid the process was started by; when it is gone already, the process exits at once.
    """
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def environment() -> dict[str, str]:
    """Return the environment of children: only the variables in `INHERITED` of this process's own.

    Airflow's connections, keys of clouds and tokens of secrets backends may stand in a worker's own.
    """
    return {name: os.environ[name] for name in INHERITED if name in os.environ}


class Child:
    """A program that was started: its output, the last lines of its errors, its exit status.

    :param command: program and arguments; never a shell line.
    :param secrets: open descriptors (of option files) that the program inherits.
    :param variables: of its environment, besides what all children have.
    :param waits: wait for `go` before it begins; starting it then takes a few milliseconds, however large this process.
    """

    def __init__(
        self,
        command: Sequence[str],
        secrets: Sequence[int] = (),
        *,
        variables: Mapping[str, str] | None = None,
        waits: bool = False,
    ) -> None:
        parent = os.getpid()
        self.name = Path(command[0]).name
        # Not start_new_session: Airflow signals the task's own process group, and the child must get that signal.
        self._process = subprocess.Popen(
            [*WAITING, *command] if waits else command,
            stdin=subprocess.PIPE if waits else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            pass_fds=secrets,
            env=environment() | dict(variables or {}),
            preexec_fn=lambda: die_with_parent(parent),
        )
        self.output = cast(IO[bytes], self._process.stdout)
        with contextlib.suppress(OSError):  # an unprivileged user may have used up the pipe allowance
            fcntl.fcntl(self.output.fileno(), F_SETPIPE_SZ, PIPE_BYTES)
        self._errors: deque[str] = deque(maxlen=ERROR_LINES_KEPT)
        self._listener = Thread(target=self._listen, args=(cast(IO[bytes], self._process.stderr),), daemon=True)
        self._listener.start()

    def go(self) -> None:
        """Let it begin that waits."""
        with contextlib.suppress(BrokenPipeError), cast(IO[bytes], self._process.stdin) as told:
            told.write(b"\n")

    def _listen(self, errors: IO[bytes]) -> None:
        for line in errors:
            self._errors.append(line.decode("utf-8", "replace").rstrip())

    @property
    def errors(self) -> str:
        """The last lines that the program wrote to its standard error."""
        return "\n".join(self._errors)

    def chunks(self, size: int = PIPE_BYTES, *, silence: float | None = None) -> Iterator[bytes]:
        """Yield the program's output as it comes, at most `size` bytes at a time.

        :param silence: seconds without output after which nothing is yielded: ``b""``, again and again.
        """
        descriptor = self.output.fileno()
        output = select.poll()
        output.register(descriptor, select.POLLIN)
        while True:
            if silence and not output.poll(silence * 1000):
                yield b""
            elif chunk := os.read(descriptor, size):
                yield chunk
            else:
                return

    def wait(self) -> int:
        """Wait for the end of the program and return its exit status (negative: the signal that killed it)."""
        status = self._process.wait()
        self._listener.join()
        return status

    def stop(self) -> None:
        """Kill the program, so that its output ends for whatever thread reads it; harmless when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def kill(self) -> None:
        """Kill the program and reap it; harmless when it has ended."""
        self.stop()
        if self._process.stdin:
            self._process.stdin.close()
        self.output.close()
        self.wait()
        cast(IO[bytes], self._process.stderr).close()  # only now nobody listens to it


@contextlib.contextmanager
def child(
    command: Sequence[str],
    secrets: Sequence[int] = (),
    *,
    variables: Mapping[str, str] | None = None,
    waits: bool = False,
) -> Iterator[Child]:
    """Run a program for the length of the block; whatever ends the block ends the program.

    Killing rather than waiting matters: Airflow's execution timeout is raised inside the block, and a block that
    waited for a dump blocked on the server's lock would never end.
    """
    process = Child(command, secrets, variables=variables, waits=waits)
    try:
        yield process
    finally:
        process.kill()


@contextlib.contextmanager
def secret_file(text: str) -> Iterator[tuple[int, str]]:
    """Hold a file of mode 0600 in memory, so that a killed worker leaves no password on any disk.

    :yields: the descriptor that a child must inherit, and the path under which the child finds it.
    """
    descriptor = os.memfd_create("lifeboat-options", 0)
    try:
        os.fchmod(descriptor, 0o600)  # clients ignore files with passwords that others may read or write
        os.write(descriptor, text.encode())
        yield descriptor, f"/dev/fd/{descriptor}"
    finally:
        os.close(descriptor)
