"""Charts as geometry: what is where, in the units of the drawing; the templates draw it as SVG."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from lifeboat.catalog.archives import Archive, Kind
from lifeboat.settings.config import Settings
from lifeboat.text import MEGABYTE, plural, size_text
from lifeboat.ui.readings import Reading
from lifeboat.ui.words import date_and_time, local

DAY = timedelta(days=1)
WEEKS = 20
CELL = 15  # of the calendar, with its gap
LEFT, TOP = 30, 18  # room for the names of weekdays and months
WIDTH, HEIGHT = 1000, 200  # of the plot of sizes; it is stretched to its place
MOST_DOTS = 60  # of a line; more are thinned out

Look = Literal["before", "none", "hole", "one", "several"]


@dataclass(frozen=True)
class Cell:
    """A day of the calendar.

    :param look: what is shown of it.
    """

    x: int
    y: int
    look: Look
    title: str


@dataclass(frozen=True)
class Calendar:
    """The days of some months, week by week.

    :param months: names with their places.
    :param holes: days without a backup, newest first.
    :param since: the first day that is looked at for holes.
    """

    width: int
    height: int
    cells: tuple[Cell, ...]
    months: tuple[tuple[int, str], ...]
    weekdays: tuple[tuple[int, str], ...]
    holes: tuple[date, ...]
    since: date | None


@dataclass(frozen=True)
class Line:
    """Sizes of one application and kind over time.

    :param path: in SVG's words.
    :param dots: places and what they are.
    """

    name: str
    kind: Kind
    path: str
    dots: tuple[tuple[float, float, str], ...]


@dataclass(frozen=True)
class Plot:
    """Sizes of archives over time.

    :param sizes: labels of the upright axis, from the top.
    :param dates: labels of the other, from the left.
    """

    lines: tuple[Line, ...]
    sizes: tuple[str, ...]
    dates: tuple[str, ...]


@dataclass(frozen=True)
class Bar:
    """Storage of an application at a destination, against its cap.

    :param parts: kind, first place, and length in percent of the whole bar.
    :param cap: place of the cap in percent, None where there is none.
    """

    application: str
    destination: str
    text: str
    parts: tuple[tuple[Kind, float, float], ...]
    cap: float | None
    over: bool


def calendar(
    archives: Sequence[Archive],
    ages: Mapping[tuple[str, Kind], timedelta],
    kept_days: int,
    now: datetime,
    zone: ZoneInfo,
) -> Calendar:
    """Lay out the last months.

    A day is a hole when some application's kind had no archive in all the time that its limit grants, counted back
    from the end of that day. Nothing is a hole before the first archive, nor where retention has thinned out.

    :param ages: how old the newest archive of each application and kind may be.
    :param kept_days: for how many days retention keeps at least one archive a day.
    """
    today = now.astimezone(zone).date()
    first = today - timedelta(days=today.weekday(), weeks=WEEKS - 1)
    by_day: dict[date, list[Archive]] = {}
    for archive in archives:
        by_day.setdefault(local(archive.captured_at, zone).date(), []).append(archive)
    lacking = _holes(archives, ages, today - timedelta(days=kept_days), now, zone)
    oldest = min(by_day, default=today)
    cells = []
    for number in range((today - first).days + 1):
        day = first + timedelta(days=number)
        x, y = LEFT + number // 7 * CELL, TOP + number % 7 * CELL
        cells.append(Cell(x, y, *_day(day, by_day.get(day, []), lacking.get(day, []), oldest)))
    return Calendar(
        LEFT + WEEKS * CELL,
        TOP + 7 * CELL,
        tuple(cells),
        tuple(_months(first)),
        tuple((TOP + row * CELL, name) for row, name in ((0, "Mon"), (2, "Wed"), (4, "Fri"))),
        tuple(sorted(lacking, reverse=True)),
        max(oldest, today - timedelta(days=kept_days)) if by_day else None,
    )


def _day(day: date, archives: Sequence[Archive], lacking: Sequence[str], oldest: date) -> tuple[Look, str]:
    name = f"{day:%a} {day.day} {day:%b %Y}"
    if lacking:
        return "hole", f"{name}: no {', no '.join(lacking)}"
    if archives:
        size = size_text(sum(archive.size for archive in archives))
        return "one" if len(archives) == 1 else "several", f"{name}: {plural(len(archives), 'archive')}, {size}"
    return ("before", f"{name}: before the first archive") if day < oldest else ("none", f"{name}: no archive")


def _holes(
    archives: Iterable[Archive],
    ages: Mapping[tuple[str, Kind], timedelta],
    since: date,
    now: datetime,
    zone: ZoneInfo,
) -> dict[date, list[str]]:
    captured: dict[tuple[str, Kind], list[datetime]] = {}
    for archive in archives:
        captured.setdefault((archive.application, archive.kind), []).append(archive.captured_at)
    holes: dict[date, list[str]] = {}
    for (application, kind), limit in ages.items():
        times = sorted(captured.get((application, kind), []))
        if not times:
            continue
        day = max(since, local(times[0], zone).date())
        while day <= now.astimezone(zone).date():
            begin, end = (datetime.combine(each, time(), zone).astimezone(UTC) for each in (day, day + DAY))
            begin = min(begin, min(end, now) - limit)
            if not any(begin <= captured_at < end for captured_at in times):
                holes.setdefault(day, []).append(f"{kind} archive of {application}")
            day += DAY
    return holes


def _months(first: date) -> Iterable[tuple[int, str]]:
    for week in range(WEEKS):
        day = first + timedelta(weeks=week)
        if week == 0 or day.month != (day - timedelta(weeks=1)).month:
            yield LEFT + week * CELL, f"{day:%b}"


def plot(archives: Sequence[Archive], now: datetime, zone: ZoneInfo) -> Plot:
    """Lay out sizes over time, a line for each application and kind."""
    begin = min((archive.captured_at for archive in archives), default=now)
    span = max(now - begin, timedelta(hours=1))
    top = max((archive.size for archive in archives), default=0) or 1
    lines: dict[tuple[str, Kind], list[Archive]] = {}
    for archive in sorted(archives, key=lambda archive: archive.captured_at):
        lines.setdefault((archive.application, archive.kind), []).append(archive)

    def dot(archive: Archive) -> tuple[float, float, str]:
        x = round(min((archive.captured_at - begin) / span, 1) * WIDTH, 1)  # some clock may be wrong
        y = round(HEIGHT - archive.size / top * HEIGHT, 1)
        when = date_and_time(archive.captured_at, zone)
        return x, y, f"{archive.application}, {archive.kind}, {when}: {size_text(archive.size)}"

    return Plot(
        tuple(_line(*subject, [dot(archive) for archive in members]) for subject, members in sorted(lines.items())),
        (size_text(top), size_text(top / 2), "0"),
        tuple(f"{local(begin + span * part / 4, zone):%d %b %Y}" for part in range(5)),
    )


def _line(application: str, kind: Kind, dots: Sequence[tuple[float, float, str]]) -> Line:
    step = -(-len(dots) // MOST_DOTS)
    thinned = dots[::-step][::-1]  # counted from the newest, which stays
    path = "M" + "L".join(f"{x} {y}" for x, y, _ in thinned)
    return Line(application, kind, path, tuple(thinned))


def bars(settings: Settings, readings: Iterable[Reading]) -> list[Bar]:
    """Lay out what each application stores at each destination against its cap; what is over it comes first."""
    laid = []
    for reading in readings:
        found = reading.known.found
        pools: dict[str, list[Archive]] = {}
        for archive in found.archives if found else ():
            if archive.application in settings.applications:
                pools.setdefault(archive.application, []).append(archive)
        for application, members in sorted(pools.items()):
            policy = settings.policy_of(reading.destination, application, members[0].kind)
            laid.append(_bar(application, reading.destination, members, policy.delete_oldest_above_megabytes))
    return sorted(laid, key=lambda bar: not bar.over)


def _bar(application: str, destination: str, archives: Sequence[Archive], cap: int | None) -> Bar:
    sizes: dict[Kind, int] = {}
    for archive in archives:
        sizes[archive.kind] = sizes.get(archive.kind, 0) + archive.size
    total, limit = sum(sizes.values()), (cap or 0) * MEGABYTE
    whole = max(total, limit) or 1
    parts, begin = [], 0.0
    for kind, size in sorted(sizes.items()):
        share = size / whole * 100
        parts.append((kind, round(begin, 2), round(share, 2)))
        begin += share
    text = f"{size_text(total)} of {size_text(limit)}" if cap else f"{size_text(total)}, no cap"
    place = round(limit / whole * 100, 2) if cap else None
    return Bar(application, destination, text, tuple(parts), place, bool(cap) and total > limit)
