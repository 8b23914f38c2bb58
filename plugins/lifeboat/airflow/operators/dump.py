"""Dump one database into staging."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lifeboat.airflow.compat import AirflowSkipException
from lifeboat.airflow.operators.base import ApplicationOperator, chosen

if TYPE_CHECKING:
    from airflow.sdk import Context


class DumpDatabaseOperator(ApplicationOperator):
    """Dump one database of an application into staging: one snapshot, compressed.

    :param database: name of the database, in the settings or on a server that they name as a whole.
    """

    template_fields: Sequence[str] = (*ApplicationOperator.template_fields, "database")

    def __init__(self, *, database: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.database = database

    @property
    def subject(self) -> str:
        return f"{self.application}, database {self.database}"

    def step(self, context: Context) -> dict[str, object]:
        """Dump, unless the trigger form chose other databases; return the totals."""
        from lifeboat.actions import backup, servers
        from lifeboat.databases import count_limits

        only = chosen(context, "databases")
        if only and self.database not in only:
            raise AirflowSkipException(f"The run was asked for {', '.join(only)} only.")
        site, scratch = self.site(), self.opened_staging(context)
        if listing := servers.of_run(site, self.application, scratch):
            database = servers.database_of(site, self.application, listing, self.database)
        else:
            (database,) = site.settings.databases_of(self.application, (self.database,))
        engine, refusal = backup.restorable(site, database)
        ships_logs = site.settings.logs_of(self.application) is not None
        dump = backup.dump_database(scratch, database, engine, refusal, position=ships_logs)
        return {
            "database": dump.database,
            "tables": len(dump.tables),
            "rows": dump.rows,
            "sql_bytes": dump.sql_bytes,
            "limits": count_limits(dump.limits),
        }
