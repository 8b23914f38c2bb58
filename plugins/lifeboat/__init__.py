"""Lifeboat: backups on Apache Airflow that prove they can be restored."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lifeboat.airflow.before_change import FreshBackup
    from lifeboat.airflow.operators.fresh import RequireFreshBackup

__all__ = ["FreshBackup", "RequireFreshBackup", "__version__"]

__version__ = "0.2.0"

_PUBLIC = {
    "FreshBackup": "lifeboat.airflow.before_change",
    "RequireFreshBackup": "lifeboat.airflow.operators.fresh",
}


if not TYPE_CHECKING:  # type checkers would take every name for one that is here

    def __getattr__(name: str) -> Any:
        """Import what DAGs of others use when they ask for it: most of Lifeboat does without Airflow."""
        if name in _PUBLIC:
            return getattr(import_module(_PUBLIC[name]), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
