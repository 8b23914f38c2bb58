"""Registers the Backups page with Airflow, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send


async def backups_page(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve the page. It is made at the first request: schedulers and workers load this file, too."""
    from lifeboat.ui.app import backups_app

    await backups_app()(scope, receive, send)


class LifeboatPlugin(AirflowPlugin):
    """The Backups page in Airflow's navigation."""

    name = "lifeboat"
    # Lists, as Airflow declares them.
    fastapi_apps = [{"app": backups_page, "url_prefix": "/lifeboat", "name": "Backups"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Backups",
            "href": "lifeboat/",
            "destination": "nav",
            "url_route": "backups",
            "nav_top_level": True,
            "icon": "lifeboat/static/icon.svg",
        }
    ]
