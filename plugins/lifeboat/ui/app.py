"""The Backups page: what it serves, to whom, and with which headers. It only reads; every action is Airflow's own."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from sqlalchemy.exc import OperationalError

from lifeboat import __version__
from lifeboat.airflow import pools
from lifeboat.airflow.compat import (
    AccessView,
    BaseUser,
    DagAccessEntity,
    GetUserDep,
    create_session,
    is_allowed,
    requires_access_view,
)
from lifeboat.airflow.operators.base import FAILURE, PROGRESS
from lifeboat.airflow.operators.check import COMPARE, NEGLECTED, VANISHED
from lifeboat.airflow.operators.restore import PLAN, RESTORE_PLAN
from lifeboat.airflow.operators.sealed import unseal
from lifeboat.airflow.site import site_of
from lifeboat.decide import health, schedules
from lifeboat.decide.health import Finding
from lifeboat.decide.restore_plan import RestorePlan
from lifeboat.errors import LifeboatError, SettingsError
from lifeboat.settings import config
from lifeboat.settings.config import BACKUP_KINDS, Settings
from lifeboat.support import clock
from lifeboat.support.logs import logger
from lifeboat.text import plural, size_text
from lifeboat.ui import airflow_runs, archives, charts, metrics, plans, runs, safety, visible
from lifeboat.ui.archives import KIND_NAMES, Filters, Row
from lifeboat.ui.inside import PAGE, Insides, file_lines, table_lines
from lifeboat.ui.overview import overview
from lifeboat.ui.readings import FRESH_SECONDS, BackgroundCall, Reading, Readings, endpoints, read_marker
from lifeboat.ui.recipes import recipes, restore_dag
from lifeboat.ui.restored import restored
from lifeboat.ui.runs import RESULT, Run
from lifeboat.ui.visible import Seen
from lifeboat.ui.words import ago, as_of, date_and_time, in_zone

if TYPE_CHECKING:
    from airflow.sdk import Context

    from lifeboat.settings.config import BackupKind

log = logger(__name__)

PATIENCE_SECONDS = 1.0  # browsers open few connections, and what is slow must not take them from the rest
RETRY_SECONDS = 1  # then the page asks again for what is slow
LIVE_SECONDS = 5  # then it asks again for what runs
READ_SECONDS = 5.0  # for a marker, and for all destinations together when Prometheus asks
REFRESH_SECONDS = 1  # how old a reading may be for somebody who asks for a fresh one
LONGEST_WAIT = timedelta(days=366)  # for the next clean-up
SHORT_TABLE = 12  # rows that are shown without being asked for
FEW = 3  # applications that are shown in full, healthy or not
LONGEST_TABLE = 200  # rows; the command line has the rest
CHECK = "backup_check"
ACTIONS = (
    "restore_database",
    "restore_application",
    "restore_drill",
    "doctor",
    "alert_test",
)
STATIC = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "inside.js": "text/javascript",
    "search.js": "text/javascript",
    "form.js": "text/javascript",
    "runs.js": "text/javascript",
    "theme.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'self'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

templates = Environment(
    loader=PackageLoader("lifeboat.ui"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
templates.filters |= {
    "size": size_text,
    "ago": ago,
    "plural": plural,
    "date_and_time": date_and_time,
    "as_of": as_of,
    "in_zone": in_zone,
}
templates.globals |= {"version": __version__, "kinds": KIND_NAMES, "restore_dag": restore_dag, "few": FEW}

# Users allowed to see the plugins in Airflow's navigation can read the page, static files included.
page = APIRouter(dependencies=[Depends(requires_access_view(AccessView.PLUGINS))])


def create_app() -> FastAPI:
    """Return the page as a separate application, to be mounted by Airflow."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.readings = Readings()
    app.state.insides = Insides()
    app.include_router(page)
    app.add_api_route("/metrics", exposition)
    app.add_exception_handler(SettingsError, _settings_error)
    app.middleware("http")(_with_headers)
    return app


backups_app = functools.cache(create_app)


async def _with_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _settings_error(_: Request, error: Exception) -> Response:
    return _html("trouble.html", {"error": error}, status_code=422)


def settings() -> Settings:
    """Return the settings, read again when the file has changed.

    :raises SettingsError: they cannot be read, or are wrong.
    """
    path = config.settings_path()
    return _load(path, path.stat().st_mtime_ns) if path.is_file() else config.load(path)


@functools.lru_cache(maxsize=1)
def _load(path: Path, changed: int) -> Settings:
    return config.load(path)


def readings_of(request: Request) -> Readings:
    """Return the readings that all requests share."""
    readings: Readings = request.app.state.readings
    return readings


SettingsDep = Annotated[Settings, Depends(settings)]
ReadingsDep = Annotated[Readings, Depends(readings_of)]


def seen_by(request: Request, user: GetUserDep, whole: SettingsDep, readings: ReadingsDep) -> Seen:
    """Return what the user may see.

    :raises HTTPException: 403, if they may see none.
    """
    seen = visible.seen(whole, readings, functools.partial(_may_see, request, user))
    if not seen.settings.applications:
        raise HTTPException(403, "Airflow lets you read none of the DAGs that back applications up.")
    return seen


def _may_see(request: Request, user: BaseUser, dag_id: str) -> bool:
    """Return whether Airflow's own endpoint would let the user read a DAG."""
    return is_allowed(request, user, "GET", None, dag_id)


SeenDep = Annotated[Seen, Depends(seen_by)]
ScraperDep = Annotated[BaseUser | None, Depends(metrics.may_scrape)]


def _html(
    template: str,
    context: Mapping[str, Any],
    *,
    waits: bool = False,
    pause: int = RETRY_SECONDS,
    status_code: int = 200,
) -> Response:
    """Render a template.

    :param waits: whether something is missing that may come, so that the page should ask again.
    :param pause: seconds until then.
    """
    headers = {"Retry-After": str(pause)} if waits else {}
    return HTMLResponse(templates.get_template(template).render(context), status_code, headers)


def _next_cleanup(at: datetime | None, now: datetime) -> datetime | None:
    """Return when the next clean-up runs, as the page learnt it from Airflow; None where that makes no sense."""
    return at if at and at.tzinfo and now < at < now + LONGEST_WAIT else None


@page.get("/")
def whole_page(request: Request, user: GetUserDep, readings: ReadingsDep) -> Response:
    """The page without what the destinations hold; that follows piece by piece."""
    try:
        found, trouble = seen_by(request, user, settings(), readings).settings, None
    except SettingsError as error:
        found, trouble = None, error
    backups = _backups(found) if found else [("backup_database", "Back up now")]
    actions = [*ACTIONS, *(dag for dag, _ in backups)]
    context = {
        "settings": found,
        "trouble": trouble,
        "dags": schedules.watched(found) if found else (),
        "may": [dag for dag in actions if _may_trigger(request, user, dag)],
        "form": plans.policy_form(found) if found else None,
        "backups": backups,
    }
    return _html("page.html", context)


def _backups(found: Settings) -> list[tuple[str, str]]:
    """Return the DAGs that take backups, and the texts of their buttons."""
    buttons = []
    for kind, more in (("database", ""), ("application", " with files")):
        for dag_id, names in found.backup_dags(cast("BackupKind", kind)).items():
            whose = (more or " now") if dag_id == f"backup_{kind}" else f" {names[0]}{more}" if names else ""
            buttons += [(dag_id, f"Back up{whose}")] if names else []
    return buttons


def _may_trigger(request: Request, user: BaseUser, dag_id: str) -> bool:
    """Return whether Airflow's own endpoint would let the user trigger a DAG."""
    return is_allowed(request, user, "POST", DagAccessEntity.RUN, dag_id)


@page.get("/answers")
def answers(
    request: Request,
    user: GetUserDep,
    seen: SeenDep,
    paused: Annotated[Sequence[str], Query()] = (),
    at: datetime | None = None,
    fresh: bool = False,
) -> Response:
    """The four answers, from the destinations that answer at once, and from the DAGs that Airflow says are paused."""
    now = clock.now()
    found, read = seen.settings, seen.all(PATIENCE_SECONDS, REFRESH_SECONDS if fresh else FRESH_SECONDS)
    beside = _left_by_check(request, user, seen, now)
    if seen.is_all:
        beside += pools.check(found.pools)
    answered = overview(found, read, now, _next_cleanup(at, now), paused, beside)
    kinds = [kind for kind in BACKUP_KINDS if found.applications_of(kind)]
    first = {kind: next(dag for dag, names in found.backup_dags(kind).items() if names) for kind in kinds}
    context = {"overview": answered, "zone": found.zone, "shown": SHORT_TABLE, "first": first}
    return _html("answers.html", context, waits=bool(answered.silent))


def _left_by_check(request: Request, user: BaseUser, seen: Seen, now: datetime) -> list[Finding]:
    """Return what the last check found out from servers, as it left it: the page itself asks none."""
    if not airflow_runs.may_read(request, user, CHECK):
        return []
    try:
        with create_session() as session:
            alone = airflow_runs.left_last(session, CHECK, COMPARE, NEGLECTED) if seen.is_all else None
            gone = airflow_runs.left_last(session, CHECK, COMPARE, VANISHED)
    except OperationalError as error:  # the answers themselves need no database, which may be locked or away
        log.warning("Not asked for what the last check found: %s", type(error).__name__)
        return []
    return [
        *(safety.neglected(*alone, now) if alone else []),
        *(safety.vanished(gone[0], seen.settings.applications, gone[1], now) if gone else []),
    ]


@page.get("/runs")
def run_list(request: Request, user: GetUserDep, seen: SeenDep) -> Response:
    """Show current and last runs of the DAGs whose runs the user may read."""
    found = seen.settings
    readable = [dag_id for dag_id in airflow_runs.dags(found) if airflow_runs.may_read(request, user, dag_id)]
    with create_session() as session:
        known = airflow_runs.read(session, found, readable)
    view = runs.runs(found, known, clock.now())
    context = {"runs": view, "sees": bool(readable), "shown": SHORT_TABLE}
    return _html("runs.html", context, waits=bool(view.now), pause=LIVE_SECONDS)


@page.get("/runs/{dag_id}/{run_id:path}")
def one_run(request: Request, user: GetUserDep, seen: SeenDep, dag_id: str, run_id: str) -> Response:
    """Show the progress of one run, why it failed, or what it restored."""
    found = seen.settings
    if dag_id not in airflow_runs.dags(found):
        raise HTTPException(404, "There is no such DAG of Lifeboat.")
    if not airflow_runs.may_read(request, user, dag_id):
        raise HTTPException(403)
    with create_session() as session:
        run = airflow_runs.one(session, dag_id, run_id, (FAILURE, PROGRESS, RESULT, PLAN))
        lengths = airflow_runs.lengths(session, [run] if run else [])
    if run is None:
        raise HTTPException(404, "There is no such run.")
    plan = _plan_of(seen.whole, run)
    if plan and plan.application not in found.applications:
        raise HTTPException(403, "Airflow does not let you read the DAGs of this application.")
    view = runs.view(found, run, lengths, clock.now())
    context = {"view": view, "restored": restored(found, plan, run) if plan else []}
    return _html("one_run.html", context, waits=not run.is_over, pause=LIVE_SECONDS)


def _plan_of(found: Settings, run: Run) -> RestorePlan | None:
    """Return the plan that a restore follows; None where there is none that a step of its run signed."""
    sealed = next((task.left[PLAN] for task in run.tasks if PLAN in task.left), None)
    try:
        return unseal(cast("Context", {"dag_run": run}), site_of(found), RESTORE_PLAN, sealed, RestorePlan)
    except LifeboatError:
        return None


@page.get("/destinations/{name}")
def destination(name: str, seen: SeenDep) -> Response:
    """Show how safe every application is at one destination."""
    found, reading = seen.settings, _reading(seen, name)
    now = clock.now()
    context = {"card": safety.destination_card(found, reading, now), "now": now, "zone": found.zone}
    return _html("destination.html", context, waits=reading.silent)


def _reading(seen: Seen, name: str) -> Reading:
    if name not in seen.whole.destinations:
        raise HTTPException(404, "There is no such destination in the settings.")
    return seen.of(name, PATIENCE_SECONDS)


@page.get("/archives")
def archive_list(seen: SeenDep, filters: Annotated[Filters, Depends()]) -> Response:
    """Show the archives, by filters: a calendar, sizes, storage, and the list."""
    now = clock.now()
    found, read = seen.settings, seen.all(PATIENCE_SECONDS)
    rows = [row for row in archives.rows(found, read.values(), now) if filters.admit(row)]
    listed = health.dated_until(now, [row.archive for row in rows])
    ages, days = archives.longest_ages(found, filters), plans.daily_days(found)
    context = {
        "rows": rows[: max(filters.limit, 1)],
        "total": len(rows),
        "present": {kind: name for kind, name in KIND_NAMES.items() if any(row.archive.kind == kind for row in rows)},
        "lacking": _lacking(read),
        "calendar": charts.calendar(listed, ages, days, now, found.zone),
        "plot": charts.plot(listed, now, found.zone),
        "bars": charts.bars(found, read.values()),
        "now": now,
        "zone": found.zone,
    }
    return _html("archives.html", context, waits=_any_silent(read))


def _lacking(read: Mapping[str, Reading]) -> list[Reading]:
    return [reading for reading in read.values() if reading.found is None]


def _any_silent(read: Mapping[str, Reading]) -> bool:
    return any(reading.silent for reading in read.values())


@page.get("/contents")
def contents(request: Request, user: GetUserDep, seen: SeenDep, key: str) -> Response:
    """Show totals of one archive, and the commands that restore it."""
    found, row = seen.settings, _row(seen, key)
    place = row.places[0]
    marker = BackgroundCall(lambda: read_marker(seen.whole, place, key)).result(READ_SECONDS)
    context = {
        "row": row,
        "contents": archives.contents(marker),
        "recipes": recipes(found, row.archive, row.places, endpoints(seen.all(PATIENCE_SECONDS).values())),
        "opens": not row.foreign and any(_may_restore(request, user)),
    }
    return _html("contents.html", context)


def _row(seen: Seen, key: str) -> Row:
    rows = archives.rows(seen.settings, seen.all(PATIENCE_SECONDS).values(), clock.now())
    row = next((row for row in rows if row.archive.key == key), None)
    if row is None:
        raise HTTPException(404, "No destination that is known holds this archive.")
    return row


def _may_restore(request: Request, user: BaseUser) -> tuple[bool, bool]:
    """Return whether a user may restore databases, and files: only such users may read the names of contents."""
    files = _may_trigger(request, user, "restore_application")
    return files or _may_trigger(request, user, "restore_database"), files


@page.get("/inside")
def inside(
    request: Request,
    user: GetUserDep,
    seen: SeenDep,
    key: str,
    folder: str | None = None,
    start: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """The tables and files of one archive, or what is in one of its folders."""
    databases, files = _may_restore(request, user)
    if not databases or (folder is not None and not files):
        raise HTTPException(403, "You may not restore this.")
    row = _row(seen, key)
    if row.foreign:
        raise HTTPException(404, "The archive's application is not in the settings.")
    insides: Insides = request.app.state.insides
    read = insides.of(seen.whole, row.places[0], row.archive.application, key, PATIENCE_SECONDS)
    held = read.contents if read else None
    nodes = held.children(folder or "") if held and files else []
    context = {
        "row": row,
        "read": read,
        "databases": [(database, table_lines(database)) for database in held.databases] if held else [],
        "folder": folder or "",
        "nodes": file_lines(nodes[start : start + PAGE]),
        "start": start,
        "further": max(len(nodes) - start - PAGE, 0),
        "longest": PAGE,
    }
    template = "inside.html" if folder is None or held is None else "folder.html"
    return _html(template, context, waits=read is None)


@page.get("/plans/{name}")
def plan(name: str, request: Request, seen: SeenDep, at: datetime | None = None) -> Response:
    """Show what a clean-up would delete at one destination, by the policy of the settings or another one."""
    found = seen.settings
    numbers = {number: request.query_params[number] for number in plans.LABELS if number in request.query_params}
    tried = plans.tried(found, numbers) if numbers else found
    reading = _reading(seen, name)
    now = clock.now()
    view = plans.plan_view(found, tried, reading, now, _next_cleanup(at, now) or now)
    context = {
        "plan": view,
        "reading": reading,
        "what_if": bool(numbers),
        "several": len(found.applications) > 1,
        "shown": SHORT_TABLE,
        "longest": LONGEST_TABLE,
        "now": now,
        "zone": found.zone,
    }
    return _html("plan.html", context, waits=reading.silent)


@page.get("/recovery")
def recovery(seen: SeenDep) -> Response:
    """Show how to restore the newest archive of every application."""
    found, read = seen.settings, seen.all(PATIENCE_SECONDS)
    now = clock.now()
    cards = archives.recovery(found, read.values(), now)
    context = {"cards": cards, "lacking": _lacking(read), "now": now, "zone": found.zone}
    return _html("recovery.html", context, waits=_any_silent(read))


@page.get("/static/{name}")
def static(name: str) -> Response:
    """A file of the page itself."""
    if name not in STATIC:
        raise HTTPException(404)
    content = files("lifeboat.ui").joinpath("static", name).read_bytes()
    return Response(content, media_type=STATIC[name], headers={"Cache-Control": "private, max-age=600"})


def exposition(request: Request, user: ScraperDep, found: SettingsDep, readings: ReadingsDep) -> Response:
    """Figures for Prometheus: of all applications for the token, of those that a user may see for the user."""
    seen = seen_by(request, user, found, readings) if user else Seen(found, found, readings)
    measured = _runs_to_measure(request, user, seen.settings)
    text = metrics.exposition(seen.settings, seen.all(READ_SECONDS), measured, clock.now())
    return Response(text, media_type=metrics.CONTENT_TYPE_LATEST)


def _runs_to_measure(request: Request, user: BaseUser | None, found: Settings) -> dict[str, list[Run]]:
    """Return the last runs of all DAGs for the token, and of those for a user whose runs they may read."""
    measured = [
        dag_id for dag_id in airflow_runs.dags(found) if not user or airflow_runs.may_read(request, user, dag_id)
    ]
    try:
        with create_session() as session:
            return airflow_runs.histories(session, measured)
    except OperationalError as error:  # the figures of destinations need no database, which may be locked or away
        log.warning("The metrics have no runs: %s", type(error).__name__)
        return {}
