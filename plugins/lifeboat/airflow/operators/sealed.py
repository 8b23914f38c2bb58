"""Signed XComs, which the steps of a run leave for each other.

Users allowed to trigger DAGs can also change XComs and states of tasks through Airflow's API. So nothing in an XCom is
believed that decides what is deleted, overwritten, stored or proven, unless a step of the same run signed it: the
secret is in connections, which workers read and users of the API do not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypedDict, TypeVar, cast

if TYPE_CHECKING:
    from airflow.sdk import Context

    from lifeboat.site import Site
    from lifeboat.support.formats import Format


F = TypeVar("F", bound="Format")

PURPOSE = b"lifeboat run"
HINT = "Trigger the DAG again. Airflow's audit log says who changed what."


class Sealed(TypedDict):
    """An XCom as somebody left it; nothing of it is believed before it was unsealed."""

    dag: str
    run: str
    conf: str
    what: str
    at: str
    facts: object
    hmac_sha256: str


def seal(context: Context, site: Site, what: str, facts: Format) -> Sealed:
    """Return facts for an XCom, bound to this run, to what it was asked for and to what they are about.

    :param what: text that distinguishes them from other facts of the run.
    """
    from lifeboat.airflow import connections
    from lifeboat.support import signing

    made = {**_run(context), "what": what, "at": site.now().isoformat(), "facts": facts.to_json()}
    plain = json.loads(signing.canonical(made))  # tuples become lists, as for readers of the XCom
    return cast(Sealed, signing.signed(plain, connections.signing_secret(site.settings), PURPOSE))


def unseal(
    context: Context, site: Site, what: str, sealed: object, kind: type[F], longest: timedelta | None = None
) -> F:
    """Return the facts that a step of this run sealed.

    :param sealed: what the XCom holds; None when there is none.
    :param longest: maximum age; default: any.
    :raises UntrustedError: no step of this run sealed them, they were sealed as something else, or are too old.
    """
    from lifeboat.airflow import connections
    from lifeboat.errors import UntrustedError
    from lifeboat.support import signing

    if sealed is None:
        raise UntrustedError(
            f"There is no {what}: the step that leaves it did not run, whatever state Airflow shows.", HINT
        )
    secret = connections.signing_secret(site.settings)
    if not isinstance(sealed, Mapping) or not signing.is_authentic(sealed, secret, PURPOSE):
        raise UntrustedError(
            f"The {what} was not signed by a step of this run: it was changed, left by an earlier version of Lifeboat,"
            " or signed with another secret.",
            HINT,
        )
    if {name: sealed.get(name) for name in ("dag", "run", "conf")} != _run(context) or sealed["what"] != what:
        raise UntrustedError(f"The {what} was signed for another run or step.", HINT)
    if longest and site.now() - datetime.fromisoformat(sealed["at"]) > longest:
        hours = longest.total_seconds() / 3600
        raise UntrustedError(f"The {what} is more than {hours:.0f} hours old.", "Trigger the DAG again.")
    try:
        return kind.from_json(sealed["facts"])
    except ValueError as error:
        raise UntrustedError(f"The {what} was left by another version of Lifeboat: {error}.", HINT) from error


def _run(context: Context) -> dict[str, str]:
    from lifeboat.support import signing

    run = context["dag_run"]
    conf = hashlib.sha256(signing.canonical(run.conf or {})).hexdigest()
    return {"dag": run.dag_id, "run": run.run_id, "conf": conf}
