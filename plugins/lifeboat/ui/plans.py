"""Plan of the next clean-up: what it will delete, and what it would delete by another policy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from lifeboat.actions import cleanup
from lifeboat.catalog.archives import KINDS
from lifeboat.decide.retention import Decision, Policy
from lifeboat.settings import config
from lifeboat.settings.config import Retention, Settings
from lifeboat.ui.readings import Reading
from lifeboat.ui.safety import applications_at

CAP = "delete_oldest_above_megabytes"
LABELS = {
    "keep_all_for_days": "All, for days",
    "keep_daily_for_days": "Then daily, for days",
    "keep_weekly_for_weeks": "Then weekly, for weeks",
    "keep_monthly_for_months": "Then monthly, for months",
    "keep_yearly_for_years": "Then yearly, for years",
    CAP: "At most, in MiB",
}
HELP = {
    "keep_all_for_days": "Every archive of these days stays.",
    "keep_daily_for_days": "One of each day stays.",
    "keep_weekly_for_weeks": "One of each week stays.",
    "keep_monthly_for_months": "One of each month stays.",
    "keep_yearly_for_years": "One of each year stays.",
    CAP: "Of each application at a destination. Empty: no cap.",
}


@dataclass(frozen=True)
class Kept:
    """Archives that a rule of retention keeps.

    :param size: in bytes.
    """

    rule: str
    count: int
    size: int


@dataclass(frozen=True)
class PlanView:
    """The plan of a clean-up at a destination.

    :param held: why nothing of an application is deleted, by application.
    :param swept: keys of uploads that never finished.
    :param spared: what the settings would delete, and the policy that is tried would not.
    :param extra: keys of what the settings would keep, and the policy that is tried would not.
    :param stand_ins: what stays only because another archive is damaged.
    """

    destination: str
    deletions: tuple[Decision, ...]
    kept: tuple[Kept, ...]
    held: Mapping[str, str]
    swept: tuple[str, ...]
    spared: tuple[Decision, ...]
    extra: frozenset[str]
    stand_ins: tuple[Decision, ...]

    @property
    def freed(self) -> int:
        """Bytes of what is deleted."""
        return sum(decision.archive.size for decision in self.deletions)

    @property
    def kept_count(self) -> int:
        """Number of archives that stay."""
        return sum(kept.count for kept in self.kept)

    @property
    def kept_size(self) -> int:
        """Bytes of what stays."""
        return sum(kept.size for kept in self.kept)


@dataclass(frozen=True)
class PolicyNumber:
    """A number of retention in the form that tries another policy."""

    name: str
    label: str
    help: str
    value: str


@dataclass(frozen=True)
class PolicyForm:
    """The form that tries another policy.

    :param mixed: whether the settings have other numbers for some archives.
    """

    numbers: tuple[PolicyNumber, ...]
    mixed: bool


def plan_view(settings: Settings, tried: Settings, reading: Reading, now: datetime, at: datetime) -> PlanView | None:
    """Say what a clean-up would do at a destination, from what is known of it; None where nothing is.

    :param tried: settings whose policy is tried; the same where none is.
    :param at: when the clean-up runs.
    """
    name, found = reading.destination, reading.known.found
    if found is None:
        return None
    applications = applications_at(settings, name)
    evaluation = cleanup.decide(name, found, tried, applications, at, now)
    plan = evaluation.plan
    own = plan if tried is settings else cleanup.decide(name, found, settings, applications, at, now).plan
    deleted = {decision.archive.key for decision in plan.deletions}
    deleted_by_settings = {decision.archive.key for decision in own.deletions}
    kept = [decision for decision in plan.decisions if decision.action == "keep"]
    return PlanView(
        name,
        tuple(plan.deletions),
        tuple(_by_rule(kept)),
        plan.held,
        tuple(stored.key for stored in (*evaluation.unfinished, *evaluation.uploads)),
        tuple(decision for decision in kept if decision.archive.key in deleted_by_settings),
        frozenset(deleted - deleted_by_settings),
        tuple(decision for decision in kept if decision.stands_in),
    )


def _by_rule(kept: Iterable[Decision]) -> Iterator[Kept]:
    sizes: dict[str, list[int]] = {}
    for decision in kept:
        sizes.setdefault(decision.rule, []).append(decision.archive.size)
    for rule, members in sizes.items():
        yield Kept(rule, len(members), sum(members))


def tried(settings: Settings, numbers: Mapping[str, str]) -> Settings:
    """Return the settings as they would be if one policy held for everything.

    :param numbers: retention's numbers as they were typed; an empty cap is none.
    :raises SettingsError: naming the number and the fix.
    """
    typed = {name: _number(name, text.strip()) for name, text in numbers.items()}
    config.policies_of(typed, "What if")
    plain = Retention()
    destinations = {name: kept.model_copy(update={"retention": plain}) for name, kept in settings.destinations.items()}
    applications = {name: app.model_copy(update={"retention": plain}) for name, app in settings.applications.items()}
    return settings.model_copy(
        update={
            "retention": Retention.model_validate(typed),
            "destinations": destinations,
            "applications": applications,
        }
    )


def _number(name: str, text: str) -> int | str | None:
    if name == CAP and not text:
        return None
    try:
        return int(text)
    except ValueError:
        return text  # the policy says what is wrong with it


def policy_form(settings: Settings) -> PolicyForm:
    """Return the policy of the settings; of whatever comes first in them where there are several."""
    policies = list(_policies(settings))
    values = {name: getattr(policies[0], name) for name in LABELS}
    numbers = [
        PolicyNumber(name, LABELS[name], HELP[name], "" if value is None else str(value))
        for name, value in values.items()
    ]
    return PolicyForm(tuple(numbers), any(policy != policies[0] for policy in policies))


def daily_days(settings: Settings) -> int:
    """Return for how many days back every policy keeps at least one archive a day."""
    return min(policy.keep_all_for_days + policy.keep_daily_for_days for policy in _policies(settings))


def _policies(settings: Settings) -> Iterator[Policy]:
    for application in settings.applications:
        for destination in settings.destinations_of(application):
            for kind in KINDS:
                yield settings.policy_of(destination, application, kind)
