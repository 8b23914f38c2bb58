"""The fields of the trigger forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lifeboat.airflow import params
from lifeboat.settings import config
from lifeboat.settings.config import Settings

from tests.conftest import Configure


@pytest.fixture
def settings(project: Configure, tmp_path: Path) -> Settings:
    def databases(*names: str) -> list[dict[str, str]]:
        return [{"name": name, "connection": "shop_db"} for name in names]

    applications: dict[str, Any] = {
        "Shop": {"databases": databases("shop", "stock"), "files": {"root": str(tmp_path)}},
        "Books": {"databases": databases("books"), "destinations": ["offsite"]},
    }
    return config.load(project(applications=applications))


def test_each_application_is_offered_what_is_its_own(settings: Settings) -> None:
    form = params.backup_params(settings, settings.applications_of("database"))
    assert form["databases"].schema["examples"] == ["books", "shop", "stock"]
    assert form["databases"].schema["by_application"] == {"Shop": ["shop", "stock"], "Books": ["books"]}
    assert form["destinations"].schema["by_application"] == {"Shop": ["disk", "offsite"], "Books": ["offsite"]}
    assert params.restore_params(settings, files=True)["databases"].schema["by_application"] == {
        "Shop": ["shop", "stock"]
    }


@pytest.mark.parametrize("files", [False, True])
def test_only_what_replaces_something_is_dangerous_and_it_comes_last(settings: Settings, files: bool) -> None:
    form = params.restore_params(settings, files=files)
    assert [name for name, field in form.items() if field.schema.get("dangerous")] == ["overwrite"]
    assert list(form)[-1] == "overwrite"
    assert form["overwrite"].schema["section"] == params.DANGER
