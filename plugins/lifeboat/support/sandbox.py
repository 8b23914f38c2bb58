"""Commands that reach the servers that they are given, and as little else as the machine allows.

A command reaches a server by a port of its loopback device. The connections are accepted out here, and passed on: so a
command in a separate network has no way to any other place.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import BoundedSemaphore, Lock, Thread
from time import monotonic
from typing import IO, Any, cast

from lifeboat.support import sandboxed
from lifeboat.support.processes import environment

CONNECTIONS = 32  # of a command to one server, at the same time
LONGEST_LINE = 4096  # bytes of output
PASSED = 1 << 16  # bytes at once
LAST_WORDS_SECONDS = 2  # to read what was written
KILLED_SECONDS = 10  # for the kernel to end the processes of a command

Connect = Callable[[], socket.socket]


class CannotStartError(Exception):
    """A program that does not start."""


class TimeOverError(Exception):
    """A command that was ended by its time limit."""


@dataclass
class Sandbox:
    """A place for one command.

    :param ports: by which it reaches its servers, on 127.0.0.1.
    :param open_to: why it is not isolated; empty if it is.
    """

    ports: Sequence[int]
    open_to: str
    _control: socket.socket
    _process: subprocess.Popen[bytes]

    def run(
        self,
        command: Sequence[str],
        folder: Path,
        variables: Mapping[str, str],
        seconds: float,
        hear: Callable[[str], None],
    ) -> int:
        """Run a command to its end, and end all processes that it leaves; return its status, as shells count them.

        :param variables: all of its environment.
        :param hear: takes each line that it writes.
        :raises CannotStartError: there is no such program, or it cannot be run.
        :raises TimeOverError: it took longer.
        """
        order = {"command": list(command), "folder": str(folder), "environment": dict(variables)}
        listener = Thread(target=_listen, args=(cast(IO[bytes], self._process.stdout), hear), daemon=True)
        listener.start()
        self._control.send(json.dumps(order).encode())
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise TimeOverError from error
        finally:
            _end(self._process)
            listener.join(LAST_WORDS_SECONDS)
        with contextlib.suppress(BlockingIOError):
            if said := self._control.recv(sandboxed.LONGEST_MESSAGE, socket.MSG_DONTWAIT):
                raise CannotStartError(json.loads(said)["error"])
        return status


@contextlib.contextmanager
def sandbox(servers: Sequence[Connect], writable: Sequence[Path]) -> Iterator[Sandbox]:
    """Make a place for a command, isolated where the machine allows it.

    :param servers: what connects to each of them.
    :param writable: directories that the command may change.
    :raises CannotStartError: not even without isolation.
    """
    with contextlib.ExitStack() as opened:
        try:
            made, listeners = opened.enter_context(_started(len(servers), writable, isolated=True))
        except CannotStartError as error:
            made, listeners = opened.enter_context(_started(len(servers), writable, isolated=False))
            made.open_to = str(error)
        for listener, connect in zip(listeners, servers, strict=True):
            opened.enter_context(_passing_on(listener, connect))
        yield made


@contextlib.contextmanager
def _started(ports: int, writable: Sequence[Path], *, isolated: bool) -> Iterator[tuple[Sandbox, list[socket.socket]]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", sandboxed.__file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                pass_fds=[theirs.fileno()],
                env=environment(),
                preexec_fn=_end_with_parent(os.getpid()),
            )
        try:
            places = [str(path.resolve()) for path in writable]
            wish = {"isolated": isolated, "writable": places, "ports": ports, "user": os.geteuid()}
            ours.send(json.dumps(wish | {"group": os.getegid()}).encode())
            said, descriptors, _, _ = socket.recv_fds(ours, sandboxed.LONGEST_MESSAGE, ports)
            answer: dict[str, Any] = json.loads(said) if said else {"error": "it ended without a word"}
            if "error" in answer:
                raise CannotStartError(answer["error"])
            listeners = [socket.socket(fileno=descriptor) for descriptor in descriptors]
            yield Sandbox(answer["ports"], "", ours, process), listeners
        finally:
            _end(process)
            cast(IO[bytes], process.stdout).close()


def _end_with_parent(parent: int) -> Callable[[], None]:
    def settle() -> None:
        sandboxed._libc.prctl(sandboxed.PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return settle


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a sandbox with all that runs in it."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(KILLED_SECONDS)
    process.kill()
    process.wait()


def _listen(output: IO[bytes], hear: Callable[[str], None]) -> None:
    """Hear lines; the rest of one that is too long is not heard."""
    with contextlib.suppress(ValueError, OSError):  # it was closed
        pending, skipping = b"", False
        while chunk := os.read(output.fileno(), PASSED):
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                if not skipping:
                    hear(line[:LONGEST_LINE].decode("utf-8", "replace").rstrip())
                skipping = False
            if len(pending) > LONGEST_LINE:
                if not skipping:
                    hear(pending[:LONGEST_LINE].decode("utf-8", "replace"))
                pending, skipping = b"", True
        if pending and not skipping:
            hear(pending.decode("utf-8", "replace").rstrip())


@dataclass
class _Open:
    """The sockets that are open; closing them ends who waits for them."""

    sockets: set[socket.socket] = field(default_factory=set)
    lock: Lock = field(default_factory=Lock)
    is_over: bool = False

    def add(self, *sockets: socket.socket) -> None:
        with self.lock:
            self.sockets.update(sockets)
            if self.is_over:
                _shut(*sockets)

    def close(self) -> None:
        with self.lock:
            self.is_over = True
            _shut(*self.sockets)


def _shut(*sockets: socket.socket) -> None:
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def _passing_on(listener: socket.socket, connect: Connect) -> Iterator[None]:
    """Pass the connections of a port on to a server, for the length of the block."""
    opened, room, threads = _Open(), BoundedSemaphore(CONNECTIONS), list[Thread]()

    def accept() -> None:
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                inside, _ = listener.accept()
                if room.acquire(blocking=False):
                    thread = Thread(target=serve, args=(inside,), daemon=True)
                    threads.append(thread)
                    thread.start()
                else:
                    inside.close()

    def serve(inside: socket.socket) -> None:
        try:
            with inside, contextlib.suppress(OSError), connect() as outside:
                outside.settimeout(None)
                opened.add(inside, outside)
                back = Thread(target=_pump, args=(outside, inside), daemon=True)
                back.start()
                _pump(inside, outside)
                back.join()
        finally:
            room.release()

    acceptor = Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield
    finally:
        _shut(listener)
        acceptor.join(LAST_WORDS_SECONDS)
        listener.close()
        opened.close()
        deadline = monotonic() + LAST_WORDS_SECONDS
        for thread in threads:
            thread.join(max(deadline - monotonic(), 0))


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(PASSED):
            target.sendall(chunk)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
