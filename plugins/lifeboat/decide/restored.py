"""The report of a restore: what is back, where, and what to know of it, as the command, the alert and the page show it.

Where things are comes from the plan, which is signed; the figures come from what the steps left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lifeboat.catalog.proof import PassedCheck, checks_text, same_text
from lifeboat.databases import Missed
from lifeboat.decide.restore_plan import DatabaseStep, FilesStep, RestorePlan
from lifeboat.support.formats import Format, Moment, Text
from lifeboat.text import plural, size_text


@dataclass(frozen=True)
class ReplayedLogs:
    """The result of replaying logs onto a restored database.

    :param transactions: of the database.
    :param others: of other databases alone, which are omitted.
    :param last_gtid: of the last transaction that is in, whatever database it is of; empty where none was replayed.
    :param last_commit: of the same.
    :param statements: which define something, and ran.
    :param left_out: what else is missing of the database's transactions: how much, by kind.
    """

    transactions: int
    others: int
    last_gtid: str
    last_commit: Moment | None
    statements: int
    left_out: dict[Text, int]
    seconds: float

    def __str__(self) -> str:
        last = f", the last one committed at {self.last_commit:%Y-%m-%d %H:%M:%S} UTC" if self.last_commit else ""
        gtid = f" (GTID {self.last_gtid})" if self.last_gtid else ""
        definitions = f", {plural(self.statements, 'definition')} among them" if self.statements else ""
        return f"{plural(self.transactions, 'transaction')} replayed in {self.seconds:.1f} s{definitions}{last}{gtid}"

    @property
    def notes(self) -> Iterator[str]:
        """Sentences about what the logs hold and the database did not get."""
        if self.others:
            yield f"{plural(self.others, 'transaction')} of other databases were omitted."
        for kind, count in self.left_out.items():
            yield f"Omitted from the logs: {kind}, {plural(count, 'time')}."


@dataclass(frozen=True)
class RestoredDatabase(Format):
    """The result of restoring one database.

    :param compared: tables whose digests equal those of the manifest; None where the archive promises none.
    :param warnings: what the reader of the report should know.
    :param limits: how much the dump did not carry exactly.
    :param missed: what the database does not have as it was captured, apart from its contents.
    :param replayed: what came from logs after that; None where none were replayed.
    :param checks: of the application, that passed on it.
    """

    database: str
    schema: str
    rows: int
    tables: int
    compared: int | None
    seconds: float
    warnings: tuple[Text, ...] = ()
    limits: int = 0
    missed: tuple[Missed, ...] = ()
    replayed: ReplayedLogs | None = None
    checks: tuple[PassedCheck, ...] = ()

    @property
    def comparison(self) -> str:
        """The result of the comparison with what was captured, as text."""
        if self.compared is None:
            return "not compared"
        return f"{plural(self.compared, 'table')} compared, all {same_text(self.limits, len(self.missed))}"

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that the reader of the report should know."""
        remedies = (f"for an administrator of the server: {each.sql};" for each in self.missed if each.sql)
        return (
            *(f"{warning}." for warning in self.warnings),
            *remedies,
            *(self.replayed.notes if self.replayed else ()),
        )


@dataclass(frozen=True)
class RestoredFiles(Format):
    """The result of restoring the files.

    :param kept: where the tree is that was replaced; empty when none was.
    """

    target: Text
    files: int
    bytes: int
    seconds: float
    kept: Text = ""
    warnings: tuple[Text, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that the reader of the report should know."""
        return tuple(f"{warning}." for warning in self.warnings)


@dataclass(frozen=True)
class RestoreReport(Format):
    """The result of a restore.

    :param safety_backup: key of the backup of what was replaced; None if nothing was.
    :param databases: in the order of the plan.
    :param after_restore: commands that were run.
    """

    plan: RestorePlan
    safety_backup: str | None = None
    databases: tuple[RestoredDatabase, ...] = ()
    files: RestoredFiles | None = None
    after_restore: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """Yield what is back, for people."""
        yield self.plan.origin
        if self.plan.recovery:
            yield from self.plan.recovery.lines()
        if self.safety_backup:
            yield f"Safety backup of what was there: {self.safety_backup}"
        for step, database in zip(self.plan.databases, self.databases, strict=False):
            yield database_text(step, database)
            yield from (f"Note: {note}" for note in database.notes)
        if self.plan.files and self.files:
            yield files_text(self.plan.files, self.files)
            yield from (f"Note: {note}" for note in self.files.notes)
        yield from (f"Ran: {command}" for command in self.after_restore)


def database_text(step: DatabaseStep, restored: RestoredDatabase | None) -> str:
    """Return where a database is now, and how it came back.

    :param restored: None where the figures are not known.
    """
    where = f"{step.what} is {'back in' if step.in_place else 'in the new schema'} {step.schema}"
    if restored is None:
        return f"{where}."
    held = f"{plural(restored.rows, 'row')} of {plural(restored.tables, 'table')}"
    replayed = f" Then {restored.replayed}." if restored.replayed else ""
    checked = checks_text(restored.checks)
    return f"{where}: {held} in {restored.seconds:.1f} s; {restored.comparison}.{replayed}{checked}"


def files_text(step: FilesStep, restored: RestoredFiles | None) -> str:
    """Return where files are now, and how they came back.

    :param restored: None where the figures are not known.
    """
    where = f"{step.what} are {'back in' if step.in_place else 'in the new'} {step.target}"
    if restored is None:
        return f"{where}."
    kept = f"; the old tree is kept at {restored.kept}" if restored.kept else ""
    held = f"{plural(restored.files, 'file')}, {size_text(restored.bytes)}"
    return f"{where}: {held} in {restored.seconds:.1f} s{kept}."
