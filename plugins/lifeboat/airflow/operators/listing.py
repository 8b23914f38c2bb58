"""List the databases of servers that are backed up as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lifeboat.airflow.compat import AirflowSkipException
from lifeboat.airflow.operators.base import ALL, ApplicationOperator, chosen

if TYPE_CHECKING:
    from airflow.sdk import Context

    from lifeboat.site import Site

LIST_DATABASES = "list_databases"  # task id
NEW = "new"  # XCom key under which it leaves databases that no archive before held, for the report


class ListDatabasesOperator(ApplicationOperator):
    """Ask the servers of an application for their databases, once for all steps of the run."""

    def step(self, context: Context) -> list[str]:
        """List and leave the list in staging; return the names of those to back up."""
        from lifeboat.actions import servers

        site = self.site()
        listing = servers.list_databases(site, self.application)
        only = chosen(context, "databases")
        if only and context["params"].get("application", ALL) == ALL:
            only = tuple(name for name in only if name in listing.databases or not self._is_elsewhere(site, name))
            if not only:
                raise AirflowSkipException("The run was asked for databases of other applications only.")
        wanted = servers.choose(site, self.application, listing, only)
        servers.stage(self.opened_staging(context), wanted.listing)
        if wanted.listing.new:
            context["ti"].xcom_push(key=NEW, value=list(wanted.listing.new))
        return [database.name for database in wanted.databases]

    def _is_elsewhere(self, site: Site, name: str) -> bool:
        others = (found for other, found in site.settings.applications.items() if other != self.application)
        return any(found.database(name) for found in others)
