"""docs/CONFIGURATION.md and the JSON Schema of the settings say what the model says."""

from __future__ import annotations

import json

import pytest
import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from lifeboat.settings import config

from docs import configuration
from tests.conftest import PROJECT

EXAMPLES = (
    "include/backup.yaml",
    "deploy/compose/backup.yaml",
    "deploy/helm/backup.yaml",
    "tests/settings_of_0_1.yaml",
)
WRONG = {
    "an unknown key": {"destination": {}},
    "an unknown type": {"destinations": {"disk": {"type": "tape", "path": "/backups"}}},
    "a number out of range": {"retention": {"keep_all_for_days": -1}},
    "no bucket": {"staging": "s3://bucket/prefix", "drill": {"archives": 0}},
}


def test_the_page_is_what_make_docs_writes() -> None:
    assert configuration.PAGE.read_text(encoding="utf-8") == configuration.page(), "run make docs"
    assert configuration.SCHEMA.read_text(encoding="utf-8") == configuration.schema_text(), "run make docs"
    for name in configuration.FORMATS:
        published = configuration.SCHEMAS / f"{name}.schema.json"
        assert published.read_text(encoding="utf-8") == configuration.format_text(name), "run make docs"


def schema() -> Draft202012Validator:
    found = json.loads(configuration.SCHEMA.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(found)
    return Draft202012Validator(found)


@pytest.mark.parametrize("path", EXAMPLES)
def test_the_schema_accepts_our_settings_files(path: str) -> None:
    settings = yaml.safe_load((PROJECT / path).read_text(encoding="utf-8"))
    assert [error.message for error in schema().iter_errors(json.loads(json.dumps(settings, default=str)))] == []


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG.keys())
def test_the_schema_refuses_mistakes(change: dict[str, object]) -> None:
    settings = yaml.safe_load((PROJECT / EXAMPLES[0]).read_text(encoding="utf-8"))
    assert list(schema().iter_errors(settings | change)) != []


def test_our_settings_file_names_the_schema() -> None:
    first = (PROJECT / EXAMPLES[0]).read_text(encoding="utf-8").splitlines()[0]
    assert (PROJECT / "include" / first.rpartition("=")[2]).resolve() == configuration.SCHEMA


def test_every_key_of_every_part_of_the_settings_is_told_with_its_meaning() -> None:
    parts = {
        part for base in (config._Model, config.Periods, config.Channels, config.Team) for part in base.__subclasses__()
    }
    parts -= {config.Bucket, config.Channels, config.Team}  # written as one text; and what others inherit
    assert set(configuration.PLACES) == parts
    for model in parts:
        meanings = configuration.documented(model)[1]
        assert [name for name in model.model_fields if not meanings.get(name)] == [], model.__name__
        assert meanings.keys() <= model.model_fields.keys(), model.__name__
