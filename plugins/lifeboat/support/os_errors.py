"""Hints for errors of the operating system."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from types import MappingProxyType

from lifeboat.errors import Lasting

RIGHTS = Lasting("Give the user that runs this the rights to read and write there.")
HINTS: Mapping[int, str] = MappingProxyType(
    {
        errno.ENOSPC: "Free some space there.",
        errno.EDQUOT: "Free some space there, or raise the quota.",
        errno.EFBIG: Lasting("FAT32 cannot store files of 4 GiB or more: use exFAT, ext4 or another file system."),
        errno.EACCES: RIGHTS,
        errno.EPERM: RIGHTS,
        errno.EROFS: Lasting("The disk is mounted read-only."),
    }
)


def hint_of(error: OSError, others: Mapping[int, str] = MappingProxyType({})) -> str:
    """Return what to do about an error, or '' if that depends.

    :param others: hints by error number, for what an error means in one place only.
    """
    number = error.errno or 0
    return others.get(number) or HINTS.get(number, "")
