"""Optional abilities of an S3 server: used until the server refuses one, which is remembered."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from itertools import chain, combinations
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

from lifeboat.storage.answers import error_code
from lifeboat.support.logs import logger

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logger(__name__)

Answer = TypeVar("Answer")

CONDITIONS, CHECKSUMS = "conditions", "checksums"
UNSUPPORTED = ("NotImplemented", "501", "InvalidArgument", "InvalidRequest", "400")  # where a header is not known
OFF = "when_required"


class Abilities:
    """Abilities of a server, as far as its answers show.

    Checksums are on or off by boto's own settings, so that those of the connection are honoured, and boto itself
    sends none either where the server takes none.

    :param what: the place, in messages.
    """

    def __init__(self, what: str, client: S3Client) -> None:
        self._what = what
        self._client = client
        self._boto: Any = client.meta.config  # its stubs know none of its settings
        self._learning = RLock()
        self.conditions = True

    @property
    def sends_checksums(self) -> bool:
        """Return whether the server is sent a SHA-256 with what it is to store."""
        return bool(self._boto.request_checksum_calculation != OFF)

    @property
    def asks_for_checksums(self) -> bool:
        """Return whether the server is asked for the checksum of what it holds."""
        return bool(self._boto.response_checksum_validation != OFF)

    def adapted(self, request: Callable[[], Answer], *uses: str) -> Answer:
        """Make a request; if the server refuses it, find out what it can do without, and do without from then on.

        :param request: is made again, and looks at these abilities each time.
        :param uses: of CONDITIONS and CHECKSUMS, those that the request uses.
        """
        try:
            return request()
        except self._client.exceptions.ClientError as error:
            if error_code(error) not in UNSUPPORTED:
                raise
            for given_up in chain.from_iterable(combinations(uses, count) for count in range(1, len(uses) + 1)):
                try:
                    with self._without(given_up):
                        return request()
                except self._client.exceptions.ClientError as again:
                    if error_code(again) not in UNSUPPORTED:
                        raise
            raise

    @contextlib.contextmanager
    def _without(self, given_up: Collection[str]) -> Iterator[None]:
        """Do without abilities; for good, unless the block fails."""
        with self._learning:
            before = conditions, sends, asks = self._state
            if CHECKSUMS in given_up:
                sends = asks = OFF
            self._state = conditions and CONDITIONS not in given_up, sends, asks
            try:
                yield
            except BaseException:
                self._state = before
                raise
            if self.conditions != conditions:
                log.warning(
                    "%s does not support conditional writes. Lifeboat checks that a key is free before it stores, so"
                    " two runs that store the same key at the same moment could overwrite each other.",
                    self._what,
                )
            if self._state[1:] != before[1:]:
                log.warning("%s does not support SHA-256 checksums, so Lifeboat reads back what it stores.", self._what)

    @property
    def _state(self) -> tuple[bool, str, str]:
        return self.conditions, self._boto.request_checksum_calculation, self._boto.response_checksum_validation

    @_state.setter
    def _state(self, state: tuple[bool, str, str]) -> None:
        self.conditions, self._boto.request_checksum_calculation, self._boto.response_checksum_validation = state
