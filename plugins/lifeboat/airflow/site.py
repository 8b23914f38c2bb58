"""Sites whose servers, destinations and passwords are Airflow's connections."""

from __future__ import annotations

from lifeboat.airflow import connections
from lifeboat.settings import config
from lifeboat.settings.config import Settings
from lifeboat.site import Site


def site_of(settings: Settings) -> Site:
    """Return the site that settings describe."""
    return Site(settings, connections)


def load_site() -> Site:
    """Read the settings, and return the site that they describe.

    :raises SettingsError: the file cannot be read, or something in it is wrong.
    """
    return site_of(config.load())
