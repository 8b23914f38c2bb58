"""What the steps of a run leave for each other: nothing that is forged, altered or of elsewhere is believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from airflow.sdk.exceptions import AirflowFailException
from lifeboat.airflow import connections
from lifeboat.airflow.operators import restore, sealed
from lifeboat.airflow.operators.sealed import Sealed, seal, unseal
from lifeboat.airflow.site import load_site, site_of
from lifeboat.decide.restore_plan import DatabaseStep, RestorePlan
from lifeboat.errors import SettingsError, UntrustedError
from lifeboat.settings import config
from lifeboat.support import signing

from tests.conftest import ARCHIVE_PASSWORD, Configure

KEY = "Shop/database/2026-11-23-01-00-00.zip"
STEP = DatabaseStep("shop", "db-dumps/mysql-shop.sql", "shop_copy")
PLAN = RestorePlan("Shop", "disk", KEY, 1, "00", "2026-11-23T01:00:00+00:00", (STEP,))

BEGAN = datetime(2026, 11, 29, 1, tzinfo=UTC)


@dataclass
class Run:
    dag_id: str = "restore_database"
    run_id: str = "manual__1"
    conf: dict[str, Any] = field(default_factory=lambda: {"application": "Shop"})
    clear_number: int = 0
    triggering_user_name: str | None = "ada"
    start_date: datetime = BEGAN


@dataclass
class Task:
    """What a task instance offers, with XComs that anybody may change."""

    xcoms: dict[tuple[str, str, int], Any] = field(default_factory=dict)
    task_id: str = "approve"
    map_index: int = -1
    id: str = "first try"
    max_tries: int = 0
    task: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(retries=0))

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[self.task_id, key, self.map_index] = json.loads(json.dumps(value))

    def xcom_pull(self, task_ids: str, key: str, map_indexes: int = -1) -> Any:
        return self.xcoms.get((task_ids, key, map_indexes))


def context_of(run: Run | None = None, ti: Task | None = None, **params: Any) -> Any:
    return {"dag_run": run or Run(), "ti": ti or Task(), "params": params}


def altered(document: Any) -> Any:
    return {**document, "facts": {**document["facts"], "size": 3}}


def signed_by_another(document: dict[str, Any]) -> dict[str, Any]:
    facts = {name: value for name, value in document.items() if name != signing.SIGNATURE}
    return signing.signed(facts, "another secret", sealed.PURPOSE)


def signed_as_a_proof(document: dict[str, Any]) -> dict[str, Any]:
    facts = {name: value for name, value in document.items() if name != signing.SIGNATURE}
    return signing.signed(facts, ARCHIVE_PASSWORD, b"lifeboat proof")


@pytest.mark.parametrize(
    ("forge", "told"),
    [
        pytest.param(altered, "was not signed by a step of this run", id="altered"),
        pytest.param(lambda document: document["facts"], "was not signed", id="of-an-earlier-version"),
        pytest.param(lambda document: document | {"hmac_sha256": None}, "was not signed", id="signature-null"),
        pytest.param(lambda document: document | {"more": 1}, "was not signed", id="with-more"),
        pytest.param(lambda document: document | {"run": "another"}, "was not signed", id="run-altered"),
        pytest.param(lambda document: document | {"at": "2100-01-01T00:00:00+00:00"}, "was not signed", id="redated"),
        pytest.param(signed_by_another, "was not signed", id="another-secret"),
        pytest.param(signed_as_a_proof, "was not signed", id="signed-as-a-proof"),
        pytest.param(lambda _: None, "There is no plan", id="none"),
        pytest.param(lambda document: [document], "was not signed", id="a-list"),
        pytest.param(json.dumps, "was not signed", id="text"),
        pytest.param(lambda _: {}, "was not signed", id="empty"),
        pytest.param(lambda document: document | {"hmac_sha256": "\ud800"}, "was not signed", id="half-a-character"),
    ],
)
def test_what_no_step_sealed_is_refused(project: Configure, forge: Callable[[Any], Any], told: str) -> None:
    project()
    document = seal(context_of(), load_site(), "plan", PLAN)
    assert unseal(context_of(), load_site(), "plan", json.loads(json.dumps(document)), RestorePlan) == PLAN
    with pytest.raises(UntrustedError, match=told):
        unseal(context_of(), load_site(), "plan", forge(document), RestorePlan)


@pytest.mark.parametrize(
    ("run", "what"),
    [
        pytest.param(Run(run_id="manual__2"), "plan", id="another-run"),
        pytest.param(Run(dag_id="restore_application"), "plan", id="another-dag"),
        pytest.param(Run(conf={"application": "Shop", "overwrite": ["shop"]}), "plan", id="another-conf"),
        pytest.param(Run(), "approval", id="as-something-else"),
    ],
)
def test_what_was_sealed_elsewhere_is_refused(project: Configure, run: Run, what: str) -> None:
    project()
    document = seal(context_of(), load_site(), "plan", PLAN)
    with pytest.raises(UntrustedError, match=f"The {what} was signed for another run or step"):
        unseal(context_of(run), load_site(), what, document, RestorePlan)


def test_a_plan_is_good_for_a_day(project: Configure) -> None:
    project()
    document = seal(context_of(), load_site(), "plan", PLAN)
    site = load_site()
    later = replace(site, clock=lambda: site.now() + timedelta(hours=25))
    assert unseal(context_of(), later, "plan", document, RestorePlan) == PLAN
    with pytest.raises(UntrustedError, match="The plan is more than 24 hours old"):
        unseal(context_of(), later, "plan", document, RestorePlan, restore.LONGEST_PLAN)


def test_the_secret_is_the_archive_password_or_one_of_airflows(
    project: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    assert connections.signing_secret(config.load()) == ARCHIVE_PASSWORD
    encryption = {"connection": "lifeboat_archive"}
    shop = {"databases": [{"name": "shop", "connection": "shop_db"}], "encryption": encryption}
    project(encryption="none", applications={"Shop": shop})
    assert connections.signing_secret(config.load()) == ARCHIVE_PASSWORD
    project(encryption="none")
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "fernet")
    assert connections.signing_secret(config.load()) == "fernet"
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "")
    monkeypatch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "jwt")
    assert connections.signing_secret(config.load()) == "jwt"
    monkeypatch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "")
    monkeypatch.setenv("AIRFLOW__API__SECRET_KEY", "")
    with pytest.raises(SettingsError, match="Set \\[core\\] fernet_key of Airflow"):
        connections.signing_secret(config.load())


def test_a_receipt_is_of_one_plan_and_one_task(project: Configure) -> None:
    project()
    settings = config.load()
    ti = Task(task_id="verify")
    first, second = (
        seal(context_of(), site_of(settings), restore.RESTORE_PLAN, replace(PLAN, size=size)) for size in (1, 2)
    )
    restore.leave_receipt(context_of(ti=ti), site_of(settings), first)
    restore.require_receipts(context_of(ti=ti), site_of(settings), first, "verify")
    with pytest.raises(UntrustedError, match="The receipt of verify is of another plan"):
        restore.require_receipts(context_of(ti=ti), site_of(settings), second, "verify")
    with pytest.raises(UntrustedError, match="There is no receipt of approve"):
        restore.require_receipts(context_of(ti=ti), site_of(settings), first, "verify", "approve")
    ti.xcoms["approve", "receipt", -1] = ti.xcoms["verify", "receipt", -1]
    with pytest.raises(UntrustedError, match="The receipt of approve was signed for another run or step"):
        restore.require_receipts(context_of(ti=ti), site_of(settings), first, "approve")
    ti.xcoms["restore", "receipt", 1] = ti.xcoms["verify", "receipt", -1]
    with pytest.raises(UntrustedError, match=r"The receipt of restore\[1\] was signed for another run or step"):
        restore.require_receipts(context_of(ti=ti), site_of(settings), first, ("restore", 1))


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param({"schema": "shop", "in_place": True, "exists": True}, id="over-the-original"),
        pytest.param({"schema": "another_copy"}, id="another-name"),
        pytest.param({"more": 1}, id="more"),
    ],
)
def test_a_task_restores_the_database_of_the_plan_that_has_its_index(
    project: Configure, forged: dict[str, Any]
) -> None:
    project()
    settings = config.load()
    ti = Task(task_id="verify")
    plan = seal(context_of(), site_of(settings), restore.RESTORE_PLAN, PLAN)
    for task in ("verify", "safety_backup"):
        ti.task_id = task
        restore.leave_receipt(context_of(ti=ti), site_of(settings), plan)
    ti.task_id, ti.map_index = "restore", 0
    database = asdict(STEP) | forged
    operator = restore.RestoreDatabaseOperator(task_id="restore", plan=plan, database=database)
    with pytest.raises(UntrustedError, match=r"The database that restore\[0\] was given is not the one of the plan"):
        operator.step(context_of(ti=ti))


class Approval:
    """The step that asks a second person, with a plan that was verified."""

    def __init__(self, run: Run | None = None) -> None:
        self.ti = Task(task_id="verify")
        self.context = context_of(run, self.ti, compare=False)
        self.plan = self.sealed(PLAN)
        restore.leave_receipt(self.context, load_site(), self.plan)
        self.ti.task_id = "approve"

    def sealed(self, plan: RestorePlan) -> Sealed:
        return seal(self.context, load_site(), restore.RESTORE_PLAN, plan)

    def ask(self, monkeypatch: pytest.MonkeyPatch) -> str:
        """Ask, and return what is shown."""
        from airflow.providers.standard.operators.hitl import ApprovalOperator

        monkeypatch.setattr(ApprovalOperator, "execute", lambda operator, _: operator.body)
        return str(self.operator().execute(self.context))

    def answer(self, by: str | None, option: str = "Approve") -> None:
        event = {
            "chosen_options": [option],
            "params_input": {},
            "responded_at": datetime.now(UTC),
            "responded_by_user": {"id": "1", "name": by},
        }
        self.operator().execute_complete(self.context, event)

    def operator(self) -> Any:
        from lifeboat.airflow.operators.approval import SecondPersonOperator

        return SecondPersonOperator(task_id="approve", plan=self.plan, subject="A restore waits")

    def is_approved(self) -> bool:
        return ("approve", restore.RECEIPT, -1) in self.ti.xcoms

    def reason(self) -> str:
        return str(self.ti.xcoms["approve", "failure", -1]["reason"])


def test_a_second_person_is_shown_the_plan_and_approves_it(project: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    project()
    approval = Approval()
    shown = approval.ask(monkeypatch)
    assert "ada asks for this restore." in shown
    assert "Database shop goes into schema shop_copy." in shown
    assert "NOT compared" in shown
    approval.answer("grace", "Reject")
    assert not approval.is_approved()
    approval.answer("grace")
    restore.require_receipts(approval.context, load_site(), approval.plan, "verify", "approve")


def test_an_approval_is_used_up_by_clearing(project: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    project()
    approval = Approval()
    approval.ask(monkeypatch)
    approval.answer("grace")
    used = "The approval was used: this step, or its run, was cleared since"
    approval.ti.max_tries = 1
    with pytest.raises(UntrustedError, match=used):
        restore.require_receipts(approval.context, load_site(), approval.plan, "approve")
    approval.ti.max_tries = 0
    approval.context["dag_run"].start_date = BEGAN + timedelta(hours=1)
    with pytest.raises(UntrustedError, match=used):
        restore.require_receipts(approval.context, load_site(), approval.plan, "approve")


def test_whoever_starts_a_restore_cannot_approve_it(project: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    project()
    approval = Approval()
    approval.ask(monkeypatch)
    with pytest.raises(AirflowFailException, match="ada started this restore and cannot approve it"):
        approval.answer("ada")
    assert not approval.is_approved()
    assert approval.reason() == "ada started this restore and cannot approve it: ask somebody else."


def test_only_what_was_shown_is_approved(project: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    project()
    approval = Approval()
    approval.ask(monkeypatch)
    approval.plan = approval.sealed(replace(PLAN, size=2))  # signed as well, by a `select` that was cleared meanwhile
    with pytest.raises(AirflowFailException, match="The plan is not the one that was shown for approval"):
        approval.answer("grace")
    approval.ti.id = "second try"
    with pytest.raises(AirflowFailException, match=r"The question second try was signed for .+ run or step"):
        approval.answer("grace")
    approval.ti.xcoms.pop(("verify", restore.RECEIPT, -1))
    with pytest.raises(AirflowFailException, match="There is no receipt of verify"):
        approval.ask(monkeypatch)
    approval.plan = altered(cast(Any, approval.plan))
    with pytest.raises(AirflowFailException, match="The restore plan was not signed"):
        approval.ask(monkeypatch)
    assert not approval.is_approved()


def test_an_approval_of_nobody_is_none(project: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    project()
    approval = Approval()
    approval.ask(monkeypatch)
    with pytest.raises(AirflowFailException, match="Airflow does not say who approved this restore"):
        approval.answer(None)
    assert not approval.is_approved()


@pytest.mark.parametrize(
    ("run", "told"),
    [
        pytest.param(Run(clear_number=1), "This run was cleared, possibly by another user", id="cleared"),
        pytest.param(Run(triggering_user_name=None), "No person started this run", id="by-nobody"),
        pytest.param(Run(triggering_user_name=""), "No person started this run", id="without-a-name"),
    ],
)
def test_nothing_is_selected_for_a_second_person_where_the_first_is_not_known(
    project: Configure, run: Run, told: str
) -> None:
    project(restore={"require_approval": True})
    select = restore.SelectArchiveOperator(task_id="select", files=False)
    with pytest.raises(SettingsError, match=told):
        select.step(context_of(run))


def test_no_backup_passes_for_a_safety_backup(project: Configure) -> None:
    from lifeboat.airflow.operators.archive import PackArchiveOperator
    from lifeboat.airflow.operators.staging import PrepareStagingOperator

    project()
    context = context_of(note="safety backup before Shop/database/2026-11-23-01-00-00.zip was restored")
    pack = PackArchiveOperator(task_id="archive", application="Shop", kind="database")
    prepare = PrepareStagingOperator(task_id="prepare_staging", application="Shop", kind="database")
    for operator in (pack, prepare):
        with pytest.raises(SettingsError, match="A note that begins with 'safety backup before ' marks what a restore"):
            operator.step(context)


@pytest.mark.parametrize(
    "left",
    [
        pytest.param({}, id="empty"),
        pytest.param({"subject": {"a": [1]}, "reason": ["<!channel>"]}, id="no-texts"),
        pytest.param({"subject": None, "reason": None}, id="nothing"),
        pytest.param({"reason": 5}, id="without-a-subject"),
        pytest.param({"reason": "x", "parts": {"Shop": ["<!channel>"], "": None}}, id="parts"),
    ],
)
def test_a_reason_that_somebody_changed_keeps_no_alert_back(left: dict[str, Any]) -> None:
    from lifeboat.airflow.alerts import reports
    from lifeboat.airflow.alerts.message import Message
    from lifeboat.airflow.alerts.routes import Subjects

    subjects = Subjects("restore_database", ["Shop"], {})
    failures = reports._failures(type("Ti", (), {"xcom_pull": lambda *_, **__: left}), "restore", "run", subjects)
    message = Message("restore_database failed", "run", tuple(failures))
    assert message.slack()
    assert "restore" in message.text()
    assert "<!channel>" not in str(message.slack())
