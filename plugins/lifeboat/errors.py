"""Errors, by layer. Every message says what and where; the hint says what to do.

    LifeboatError
    ├── SettingsError      the settings file or a connection: nothing was started
    ├── DumpError          a database could not be captured
    ├── LogError           a binary log could not be fetched, or is not what it should be
    ├── FilesError         an application's files could not be captured
    ├── ArchiveError       an archive cannot be written, or is not what it should be
    │   └── PasswordError  no password of the settings opens it
    ├── RestoreError       a restore could not be done, or went wrong on its way
    ├── MismatchError      what was restored is not what was captured
    │   └── CheckError     it is, but the application's own checks fail on it
    ├── StorageError       a destination refused or failed
    │   ├── AlreadyStoredError  the key is taken; nothing is overwritten
    │   ├── AlteredError        what was to be stored is not what was packed
    │   └── DeniedError         rights are missing, maybe for one object only
    ├── UntrustedError     a step was given what no step of its run signed
    ├── UnhealthyError     backups are not as they should be
    └── StagingError       scratch space is missing, full or gone

No message carries a secret: passwords never enter the values that messages are made of. Control characters, which names
may hold, are escaped.
"""

from collections.abc import Mapping

from lifeboat.text import printable


class Lasting(str):
    """A hint about what no second try mends: somebody must act first."""


class LifeboatError(Exception):
    """A failure that its reader can act on.

    :param message: one sentence: what failed, and where.
    :param hint: what to do about it, or nothing when the sentence says it all.
    """

    lasting = False  # whether trying again changes nothing

    def __init__(self, message: str, hint: str = "") -> None:
        self.lasting = type(self).lasting or isinstance(hint, Lasting)
        self.message = printable(message)
        self.hint = (Lasting if self.lasting else str)(printable(hint))
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} Hint: {self.hint}" if self.hint else self.message


class SettingsError(LifeboatError):
    """A wrong or missing setting; raised before any work starts."""

    lasting = True


class DumpError(LifeboatError):
    """A database was not captured whole."""


class LogError(LifeboatError):
    """A binary log could not be fetched, or is not as a server writes it."""


class FilesError(LifeboatError):
    """An application's files were not captured as the settings ask."""


class ArchiveError(LifeboatError):
    """An archive could not be written, or its content is not what its manifest says."""


class PasswordError(ArchiveError):
    """No password of the settings opens an archive, which says nothing about the archive."""


class RestoreError(LifeboatError):
    """A restore could not be done, or went wrong on its way; the message says what state it left."""


class MismatchError(LifeboatError):
    """The restored data differs from the captured data; the message names the differences."""

    lasting = True


class CheckError(MismatchError):
    """The restored data is what was captured, but the settings' checks fail on it; the message names each of them."""


class StorageError(LifeboatError):
    """A destination refused, failed or did not confirm what was sent."""


class AlreadyStoredError(StorageError):
    """The key exists at the destination; nothing is overwritten."""


class AlteredError(StorageError):
    """The file to be stored differs from the packed one; another copy may be intact."""


class DeniedError(StorageError):
    """A destination denies a request, possibly for one object only: others are tried anyway."""


class UntrustedError(LifeboatError):
    """A step was given something that no step of its run signed."""

    lasting = True


class UnhealthyError(LifeboatError):
    """Backups are not as they should be; the message is the report.

    :param parts: its lines about each application; under an empty name those about none, or all.
    """

    lasting = True

    def __init__(self, message: str, hint: str = "", parts: Mapping[str, str] | None = None) -> None:
        super().__init__(message, hint)
        self.parts = {name: printable(part) for name, part in (parts or {}).items()}


class StagingError(LifeboatError):
    """Scratch space is missing, full, or holds no longer what the step needs."""
