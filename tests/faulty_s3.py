"""A proxy in front of an S3 server that breaks the requests it is told to, and lies where it is told to."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

LASTING = 1_000_000  # times
RESET = struct.pack("ii", 1, 0)  # of SO_LINGER: close by a reset
OURS = ("transfer-encoding", "connection", "content-length")


class Answer(NamedTuple):
    """:param sent: bytes of the body that are sent before the connection is reset; all of them when left out."""

    status: int
    headers: dict[str, str]
    body: bytes
    sent: int | None = None


@dataclass
class Forward:
    """A request; calling it passes it on to the server."""

    operation: str
    path: str
    headers: Mapping[str, str]
    send: Callable[[], Answer]

    def __call__(self) -> Answer:
        return self.send()


Act = Callable[[Forward], Answer | None]  # without an answer, the connection is reset


@dataclass
class Fault:
    """What happens to some requests.

    :param on: S3's name of the operation; any when left out.
    :param after: how many such requests pass before.
    :param times: how many are broken then.
    """

    act: Act
    on: str = ""
    after: int = 0
    times: int = 1

    def takes(self, operation: str) -> bool:
        """Count a request; say whether it is one to break."""
        if self.on not in ("", operation) or self.times == 0:
            return False
        if self.after:
            self.after -= 1
            return False
        self.times -= 1
        return True


def failing(status: int, code: str = "InternalError", **headers: str) -> Act:
    """Answer with an error, and do nothing; names of headers have underscores for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = f"<Error><Code>{code}</Code><Message>As the test wants it</Message></Error>".encode()
    return lambda _: Answer(status, {"Content-Type": "application/xml"} | named, body)


def reset(_: Forward) -> None:
    """Reset the connection before anything is done."""


def lost(forward: Forward) -> None:
    """Do what is asked; reset the connection instead of answering."""
    forward()


def cut(forward: Forward) -> Answer:
    """Reset the connection in the middle of the body."""
    answer = forward()
    return answer._replace(sent=len(answer.body) // 2)


def hanging(seconds: float) -> Act:
    """Keep silent for a while, then reset the connection."""
    return lambda _: time.sleep(seconds)


def slow(seconds: float) -> Act:
    """Answer late."""

    def act(forward: Forward) -> Answer:
        time.sleep(seconds)
        return forward()

    return act


def altered(change: Callable[[Answer], Answer]) -> Act:
    """Answer with something else than what the server said."""
    return lambda forward: change(forward())


def without(*keys: str) -> Act:
    """Answer with a listing that lacks keys with these ends."""

    def change(answer: Answer) -> Answer:
        entries = re.compile(rb"<Contents>.*?</Contents>", re.DOTALL)
        named = tuple(f"{key}</Key>".encode() for key in keys)
        body = entries.sub(lambda entry: b"" if any(name in entry[0] for name in named) else entry[0], answer.body)
        assert body != answer.body, "the listing has none of them"
        count = len(entries.findall(body))
        return answer._replace(body=re.sub(rb"<KeyCount>\d+<", b"<KeyCount>%d<" % count, body))

    return altered(change)


def with_headers(**headers: str) -> Act:
    """Answer with other headers, or without those that are empty; their names have underscores for dashes."""
    changes = {name.replace("_", "-"): value for name, value in headers.items()}

    def change(answer: Answer) -> Answer:
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in changes}
        return answer._replace(headers=kept | {name: value for name, value in changes.items() if value})

    return altered(change)


def refusing(headers: Mapping[str, Act]) -> Act:
    """Break requests with a header whose name begins so, and no others."""

    def act(forward: Forward) -> Answer | None:
        for start, refuse in headers.items():
            if any(name.lower().startswith(start) for name in forward.headers):
                return refuse(forward)
        return forward()

    return act


def demanding(header: str, refuse: Act) -> Act:
    """Break requests without a header, and no others."""
    return lambda forward: forward() if header in map(str.lower, forward.headers) else refuse(forward)


def operation_of(method: str, target: str) -> str:
    """Return S3's name of a request in path style."""
    parts = urlsplit(target)
    query = parse_qs(parts.query, keep_blank_values=True)
    has_key = parts.path.strip("/").count("/") > 0
    match method:
        case "GET" if has_key:
            return "GetObject"
        case "GET":
            return "ListMultipartUploads" if "uploads" in query else "ListObjectsV2"
        case "HEAD":
            return "HeadObject" if has_key else "HeadBucket"
        case "PUT":
            return "UploadPart" if "partNumber" in query else "PutObject"
        case "POST":
            return "CreateMultipartUpload" if "uploads" in query else "CompleteMultipartUpload"
        case _:
            return "AbortMultipartUpload" if "uploadId" in query else "DeleteObject"


class FaultyS3:
    """Listens on a free port of 127.0.0.1.

    :param upstream: endpoint of the server. It gets the requests as they are, whose signatures cover our own address.
    """

    def __init__(self, upstream: str) -> None:
        proxy = self
        self.operations: list[str] = []
        self._faults: list[Fault] = []
        self._lock = Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def relay(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                operation = operation_of(self.command, self.path)
                act = proxy._act_on(operation)
                answer = act(Forward(operation, self.path, dict(self.headers), lambda: self.forward(body)))
                with contextlib.suppress(ConnectionError):  # who waited has given up
                    if answer is None or not self.send(answer):
                        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                        self.close_connection = True

            def forward(self, body: bytes) -> Answer:
                server = http.client.HTTPConnection(upstream.removeprefix("http://"))
                server.request(self.command, self.path, body, dict(self.headers))
                with contextlib.closing(server), server.getresponse() as answer:
                    length = (
                        {"content-length": answer.headers["content-length"] or "0"} if self.command == "HEAD" else {}
                    )
                    kept = {name: value for name, value in answer.getheaders() if name.lower() not in OURS}
                    return Answer(answer.status, kept | length, answer.read())

            def send(self, answer: Answer) -> bool:
                """Send an answer; return whether it went out whole."""
                self.send_response(answer.status)
                length = {"content-length": str(len(answer.body))}
                for name, value in (length | {name.lower(): value for name, value in answer.headers.items()}).items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.body[: answer.sent])
                return answer.sent is None

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = relay

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False  # nobody waits for who hangs
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def _act_on(self, operation: str) -> Act:
        with self._lock:
            self.operations.append(operation)
            fault = next((fault for fault in self._faults if fault.takes(operation)), None)
        return fault.act if fault else lambda forward: forward()

    def inject(self, *faults: Fault) -> None:
        """Break requests from now on, the first fault that fits; without any, all is well again."""
        with self._lock:
            self._faults = list(faults)
            self.operations.clear()

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
