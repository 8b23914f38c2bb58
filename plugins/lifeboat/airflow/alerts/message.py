"""The message about a run, and its form for each channel: pure."""

from __future__ import annotations

import html
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

from lifeboat.airflow.failures import advice_on

LONGEST_REASON = 500  # characters; Slack refuses sections beyond 3000, and markup may make five of one
MOST_FAILURES = 40  # Slack refuses messages of more than 50 blocks


@dataclass(frozen=True)
class Failure:
    """A failed task.

    :param subject: what it worked on: an application, a destination.
    :param application: the one that it concerns; empty where that is none, or all.
    """

    task: str
    subject: str
    reason: str
    application: str = ""

    @property
    def advice(self) -> str:
        """Advice on what to do about the failure."""
        return advice_on(self.task)


class Line(NamedTuple):
    """Something to tell.

    :param application: the one that it concerns; empty where that is none, or all.
    """

    application: str
    text: str


@dataclass(frozen=True)
class Told:
    """The report of a run; each channel gets what concerns its applications.

    :param lines: what came of the run.
    :param last_good: when the last good backups were.
    :param note: what everybody hears.
    :param counted: ends the title of a message with the number of its lines; None where the title is the same for all.
    """

    title: str
    run_id: str = ""
    failures: tuple[Failure, ...] = ()
    lines: tuple[Line, ...] = ()
    last_good: tuple[Line, ...] = ()
    note: str = ""
    url: str = ""
    counted: Callable[[int], str] | None = None

    @property
    def applications(self) -> set[str]:
        """The applications that it concerns; an empty name if it concerns none, or all."""
        failed = {failure.application for failure in self.failures}
        return failed | {line.application for line in self.lines} or {""}

    def about(self, applications: Collection[str]) -> Message:
        """Return the message about some of these applications; what is empty means all."""
        everything = "" in applications
        good = (line.text for line in self.last_good if everything or line.application in ("", *applications))
        lines = [line.text for line in self.lines if line.application in applications]
        failures = tuple(each for each in self.failures if each.application in applications)
        note = "\n".join(filter(None, [*lines, self.note]))
        title = f"{self.title}: {self.counted(len(lines))}" if self.counted else self.title
        return Message(title, self.run_id, failures, tuple(good), note, self.url)


@dataclass(frozen=True)
class Message:
    """A message about a run.

    :param title: what happened, in a line.
    :param last_good: when the last good backups were, a line each.
    :param url: the run in Airflow's UI; empty if unknown.
    """

    title: str
    run_id: str = ""
    failures: tuple[Failure, ...] = ()
    last_good: tuple[str, ...] = ()
    note: str = ""
    url: str = ""

    def slack(self) -> list[dict[str, Any]]:
        """Return the message as Slack blocks."""
        more = len(self.failures) - MOST_FAILURES
        texts = [
            *(
                f"*{_slack(failure.task)}* {_slack(failure.subject)}\n{_slack(_short(failure.reason))}"
                f"\n_{failure.advice}_"
                for failure in self.failures[:MOST_FAILURES]
            ),
            f"... and {more} more; the run has them all." if more > 0 else "",
            _slack(_short("\n".join(self.last_good))),
            _slack(self.note),
            " ".join(filter(None, [f"Run `{_slack(self.run_id)}`." if self.run_id else "", self._slack_link()])),
        ]
        return [
            {"type": "header", "text": {"type": "plain_text", "text": self.title[:150]}},
            *(  # verbatim, so that no "@channel" in somebody's name becomes a mention
                {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}
                for text in texts
                if text
            ),
        ][:50]

    def _slack_link(self) -> str:
        return f"<{self.url}|Open the run>" if self.url else ""

    def text(self) -> str:
        """Return the message as plain text."""
        failures = [
            f"{failure.task} {failure.subject}\n{failure.reason}\n{failure.advice}".strip() for failure in self.failures
        ]
        run = f"Run {self.run_id}\n{self.url}".strip() if self.run_id else ""
        return "\n\n".join(filter(None, [self.title, *failures, "\n".join(self.last_good), self.note, run])) + "\n"

    def html(self) -> str:
        """Return the message as HTML that a phone shows well."""

        def paragraph(text: str) -> str:
            return f"<p>{html.escape(text).replace(chr(10), '<br>')}</p>" if text else ""

        failures = "".join(
            f"<h3>{html.escape(failure.task)} <small>{html.escape(failure.subject)}</small></h3>"
            f"{paragraph(failure.reason)}<p><em>{html.escape(failure.advice)}</em></p>"
            for failure in self.failures
        )
        link = f'<p><a href="{html.escape(self.url)}">Open the run</a></p>' if self.url else ""
        run = f"<p>Run <code>{html.escape(self.run_id)}</code></p>" if self.run_id else ""
        return (
            '<html><head><meta name="viewport" content="width=device-width"></head>'
            '<body style="font-family: sans-serif; max-width: 40em">'
            f"<h2>{html.escape(self.title)}</h2>{failures}{paragraph(chr(10).join(self.last_good))}"
            f"{paragraph(self.note)}{run}{link}</body></html>"
        )


def _short(text: str) -> str:
    """Cut a text at the end of a line, and say so."""
    if len(text) <= LONGEST_REASON:
        return text
    cut = text[:LONGEST_REASON]
    return f"{cut[: cut.rfind(chr(10))] if chr(10) in cut else cut}\n... the log has the rest."


def _slack(text: str) -> str:
    """Escape what Slack reads as markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
