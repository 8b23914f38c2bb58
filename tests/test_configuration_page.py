"""docs/CONFIGURATION.md says what the model says."""

from __future__ import annotations

import re

import pytest
from lifeboat import config

from docs import configuration
from tests.conftest import PROJECT


def test_the_page_is_what_make_docs_writes() -> None:
    assert configuration.PAGE.read_text(encoding="utf-8") == configuration.page(), "run make docs"


def test_every_key_of_every_part_of_the_settings_is_told_with_its_meaning() -> None:
    parts = set(config._Model.__subclasses__()) | set(config.Periods.__subclasses__())
    parts -= {config.Bucket}  # written as one text
    assert set(configuration.PLACES) == parts
    for model in parts:
        meanings = configuration.documented(model)[1]
        assert [name for name in model.model_fields if not meanings.get(name)] == [], model.__name__
        assert meanings.keys() <= model.model_fields.keys(), model.__name__


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in (PROJECT / "docs").glob("*.md"))])
def test_keys_that_other_pages_name_are_there(page: str) -> None:
    sections = {"retention": config.Retention, "health": config.Health, "files": config.Files, "drill": config.Drill}
    sections |= {"alerts": config.Alerts, "restore": config.Restore}
    text = (PROJECT / page).read_text(encoding="utf-8")
    for section, key in re.findall(rf"`({'|'.join(sections)})\.(\w+)(?=[`:.])", text):
        assert key == "py" or key in sections[section].model_fields, f"{section}.{key}"
