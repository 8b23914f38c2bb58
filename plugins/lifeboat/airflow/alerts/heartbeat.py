"""The heartbeat: a URL that every healthy check requests, so that a monitoring service notices when these stop."""

from __future__ import annotations

from http.client import HTTPException
from urllib.parse import urlsplit
from urllib.request import urlopen

from lifeboat.airflow import connections
from lifeboat.errors import LifeboatError, SettingsError
from lifeboat.settings.config import Settings
from lifeboat.support import transport
from lifeboat.support.logs import logger

TIMEOUT = 10  # seconds

log = logger(__name__)


def ping(settings: Settings) -> None:
    """Request the heartbeat URL, whose service alerts somebody when these requests stop.

    A failure is only logged, without the URL, which is a secret: the service notices the missing request.
    """
    if settings.alerts.dead_man is None:
        return
    try:
        url = url_of(settings.alerts.dead_man)
        with urlopen(url, timeout=TIMEOUT):  # noqa: S310  # the scheme was checked
            log.info("Pinged the heartbeat URL.")
    except LifeboatError as error:
        log.error("Could not ping the heartbeat URL: %s", error)
    except (OSError, ValueError, HTTPException) as error:
        log.error("Could not ping the heartbeat URL: %s.", type(error).__name__)


def url_of(connection_id: str) -> str:
    """Return the heartbeat URL, which is a secret.

    :raises SettingsError: the connection is missing, or its password is not a URL.
    """
    url = str(connections.get(connection_id, "the heartbeat").password or "")
    if urlsplit(url).scheme not in ("http", "https"):
        raise SettingsError(
            f"The password of Airflow connection {connection_id!r} is not a URL.", "Set it to the heartbeat URL."
        )
    hint = f"Let the password of Airflow connection {connection_id!r} begin with https://."
    transport.warn_of_url(url, "the heartbeat URL, by which anybody can say that all is well,", hint)
    return url
