"""Refusals of S3 servers, and what to do about each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lifeboat.errors import Lasting

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

DENIED = ("AccessDenied", "403")
TAKEN = ("PreconditionFailed", "412")

OTHER_REGION = Lasting("Set region_name in the connection's extra to the bucket's region; its endpoint_url must fit.")
UNNAMED = (301, 307, 400, 403)  # statuses that have several reasons

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
        "Give the key the rights to list, read, write and abort uploads in the bucket; clean-ups delete. If the bucket "
        "takes encrypted objects only, set server_side_encryption of the destination."
    ),
    "ObjectLockConfigurationNotFoundError": Lasting("Enable Object Lock on the bucket: docs/IMMUTABILITY.md says how."),
    "NoSuchUpload": "Another try, a clean-up or a rule of the bucket has aborted this upload. Clear the task.",
    "NoCredentialsError": Lasting(
        "Set the connection's login and password: access key and secret. Or give the worker a role."
    ),
    "RequestTimeTooSkewed": Lasting("Set this machine's clock, or the server's: they differ by more than 15 minutes."),
    "ExpiredToken": "Renew the session token of the connection, or give the worker a role.",
    "InvalidObjectState": Lasting(
        "The object is in an archive class: restore it first (aws s3api restore-object), then try again."
    ),
    "NotImplemented": Lasting(
        "This server lacks something that the destination asks for: look at its object_lock, server_side_encryption "
        "and storage_class."
    ),
    "PermanentRedirect": OTHER_REGION,
    "301": OTHER_REGION,
    "AuthorizationHeaderMalformed": OTHER_REGION,
    "403": Lasting("Check the connection's access key and its secret, and the key's rights to list, read and write."),
}


def error_code(error: BaseException | None) -> str:
    """Return the code of a server's answer; the error's own name if there was no answer."""
    answer = getattr(error, "response", None) or {}  # those of the connection have none
    return str(answer.get("Error", {}).get("Code") or type(error).__name__)


def http_status(error: ClientError) -> int:
    """Return the status of a server's answer."""
    return error.response["ResponseMetadata"]["HTTPStatusCode"]
