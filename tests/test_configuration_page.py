"""docs/CONFIGURATION.md says what the model says."""

from __future__ import annotations

from lifeboat.settings import config

from docs import configuration


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
