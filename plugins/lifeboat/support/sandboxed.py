"""The inside of a sandbox: a program that `sandbox` starts, and that needs nothing but Python.

It shuts itself in, if that is wanted and the machine allows it; opens the ports by which the command reaches its
servers, and hands them out; then runs the command, and ends everything that this leaves running.

Shut in means: its own namespaces for users, processes, the network and mounts, without any network but its loopback
device; every file read-only but those below the directories that it is given; and no sockets but those of that network,
because a path leads to a socket in any network namespace.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import platform
import resource
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Any, NoReturn

NEW_NAMESPACES = 0x10000000 | 0x20000000 | 0x40000000 | 0x00020000 | 0x08000000  # user, process, network, mount, IPC
INSIDE = 1000  # the user that root is inside: one that loses all powers when the command starts
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 22, 36, 38
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
PROC_FLAGS = 0x2 | 0x4 | 0x8  # nosuid, nodev, noexec
SYS_MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE = 442, -100, 0x8000
READ_ONLY, NO_DEVICES = 1, 4  # attributes of mounts; a read-only one still lets its devices be written to
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
SYS_IO_URING_SETUP = 425  # makes sockets, too
ARCHITECTURES = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}  # as seccomp calls them; number of socket()
FOREIGN = 0x40000000  # numbers of calls of x86's other ABI begin here
ALLOW, REFUSE = 0x7FFF0000, 0x00050000
LONGEST_MESSAGE = 1 << 18
NOT_STARTED = 127

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> NoReturn:
    """Do what the other end of the control socket asks; exit with the command's status."""
    control = socket.socket(fileno=int(sys.argv[1]))
    wish = json.loads(control.recv(LONGEST_MESSAGE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        if wish["isolated"]:
            _call("unshare", NEW_NAMESPACES)
            _be_somebody(wish["user"], wish["group"])
            _continue_as_first_process()
            _shut_in(wish["writable"])
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(wish["ports"])]
    except OSError as error:
        control.send(json.dumps({"error": f"{error.filename or 'the kernel'}: {error.strerror or error}"}).encode())
        sys.exit(NOT_STARTED)
    ready = json.dumps({"ports": [listener.getsockname()[1] for listener in listeners]}).encode()
    socket.send_fds(control, [ready], [listener.fileno() for listener in listeners])
    for listener in listeners:
        listener.close()
    order = control.recv(LONGEST_MESSAGE)
    os._exit(_run(control, json.loads(order), isolated=wish["isolated"]) if order else 0)


def _call(name: str, *arguments: Any) -> None:
    """:raises OSError: naming the call."""
    if getattr(_libc, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)


def _be_somebody(user: int, group: int) -> None:
    """Be the user inside that this one is outside, who owns the same files, but never root."""
    for file, line in (
        ("setgroups", "deny"),
        ("uid_map", f"{user or INSIDE} {user} 1"),
        ("gid_map", f"{group or INSIDE} {group} 1"),
    ):
        Path(f"/proc/self/{file}").write_text(line)


def _continue_as_first_process() -> None:
    """Continue as the first process of the new namespace: when it ends, the kernel ends all others in there."""
    if child := os.fork():
        signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _shut_in(writable: list[str]) -> None:
    if platform.machine() not in ARCHITECTURES:
        raise OSError(errno.ENOSYS, "unknown architecture", platform.machine())
    _call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    _set_mount("/", READ_ONLY | NO_DEVICES, 0)
    for path, cleared in [*((path, READ_ONLY) for path in writable), *((path, NO_DEVICES) for path in DEVICES)]:
        _call("mount", os.fsencode(path), os.fsencode(path), None, MS_BIND | MS_REC, None)
        _set_mount(path, 0, cleared)
    _call("mount", b"proc", b"/proc", b"proc", PROC_FLAGS, None)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        (_, flags) = struct.unpack("16sh22x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack("16sh22x", b"lo", 0)))
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | IFF_UP))


def _set_mount(path: str, attributes: int, cleared: int) -> None:
    """Set and clear attributes of a mount, and of those below it."""
    change = struct.pack("QQQQ", attributes, cleared, 0, 0)
    number, size = ctypes.c_long(SYS_MOUNT_SETATTR), ctypes.c_size_t(len(change))
    if _libc.syscall(number, AT_FDCWD, os.fsencode(path), AT_RECURSIVE, change, size):  # older C libraries lack it
        failed = ctypes.get_errno()
        raise OSError(failed, os.strerror(failed), "mount_setattr")


def _run(control: socket.socket, order: dict[str, Any], *, isolated: bool) -> int:
    """Run the command, and end what it leaves; return its status, as shells count them."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    command = os.fork()
    if not command:
        _become(control, order, isolated=isolated)
    signal.signal(signal.SIGTERM, lambda *_: _kill(command))
    while True:
        ended, status = os.wait()
        if ended == command:
            break
    _end_others()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _become(control: socket.socket, order: dict[str, Any], *, isolated: bool) -> NoReturn:
    """Become the command."""
    try:
        os.setsid()
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.chdir(order["folder"])
        _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if isolated:
            _refuse_other_sockets()
        os.execvpe(order["command"][0], order["command"], order["environment"])  # noqa: S606
    except OSError as error:
        control.send(json.dumps({"error": error.strerror or str(error)}).encode())
    os._exit(NOT_STARTED)


def _refuse_other_sockets() -> None:
    """Let neither this process nor its children make sockets but of IP and netlink."""
    architecture, sys_socket = ARCHITECTURES[platform.machine()]
    load, equal, at_least, leave = 0x20, 0x15, 0x35, 0x06
    program = [
        (load, 0, 0, 4),  # the architecture
        (equal, 0, 8, architecture),
        (load, 0, 0, 0),  # the number of the call
        (at_least, 6, 0, FOREIGN),
        (equal, 5, 0, SYS_IO_URING_SETUP),
        (equal, 0, 5, sys_socket),
        (load, 0, 0, 16),  # its first argument
        (equal, 3, 0, socket.AF_INET),
        (equal, 2, 0, socket.AF_INET6),
        (equal, 1, 0, socket.AF_NETLINK),
        (leave, 0, 0, REFUSE | errno.EACCES),
        (leave, 0, 0, ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in program))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    if _libc.prctl(PR_SET_SECCOMP, 2, header, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"no filter of sockets: {os.strerror(number)}")


def _end_others() -> None:
    """Kill all that the command left running: whatever lost its parent has become this process's child."""
    with contextlib.suppress(ChildProcessError):
        while True:
            for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                _kill(int(child))
            os.waitpid(-1, 0)


def _kill(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


if __name__ == "__main__":
    main()
