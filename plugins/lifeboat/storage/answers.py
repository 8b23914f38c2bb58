"""What S3 servers answer when they refuse, and what to do about it."""

from __future__ import annotations

from lifeboat.errors import Lasting

TAKEN = ("PreconditionFailed", "412")

HINTS = {
    "NoSuchBucket": Lasting("Create the bucket, or fix its name in the settings."),
    "404": Lasting("Create the bucket, or fix its name in the settings."),
    "InvalidAccessKeyId": Lasting(
        "Check login and password of the connection: they are the access key and its secret."
    ),
    "SignatureDoesNotMatch": Lasting(
        "Check login and password of the connection: they are the access key and its secret."
    ),
    "AccessDenied": Lasting(
        "Give the key the rights to list, read, write and abort uploads in the bucket; clean-ups delete."
    ),
    "ObjectLockConfigurationNotFoundError": Lasting("Enable Object Lock on the bucket: docs/IMMUTABILITY.md says how."),
    "NoSuchUpload": "Another try, a clean-up or a rule of the bucket has aborted this upload. Clear the task.",
    "NoCredentialsError": Lasting(
        "Set the connection's login and password: access key and secret. Or give the worker a role."
    ),
    "403": Lasting("Check the connection's access key and its secret, and the key's rights to list, read and write."),
}


def error_code(error: BaseException | None) -> str:
    """Return the code of a server's answer; the error's own name if there was no answer."""
    answer = getattr(error, "response", None) or {}  # those of the connection have none
    return str(answer.get("Error", {}).get("Code") or type(error).__name__)
