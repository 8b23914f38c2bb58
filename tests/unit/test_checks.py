"""Judge a check's value, and quote its output without secrets."""

from __future__ import annotations

import pytest
from lifeboat.decide import checks


@pytest.mark.parametrize(
    ("expect", "value", "well"),
    [
        ("> 0", "1", True),
        ("> 0", "0", False),
        (">0", "10", True),
        ("> 9", "10", True),
        ("= 1", "1.0", True),
        ("!= 1", "2", True),
        ("<= 2.5", "2.5", True),
        (">= 3", "2", False),
        ("< 0", "-1e3", True),
        ("= open", "open", True),
        ("= 'a b'", "a b", True),
        ('= "it\'s"', "it's", True),
        ("= '1'", "1.0", False),
        ("!= closed", "open", True),
        (">= 2026-01-01", "2026-11-30", True),
        ("> 0", "NaN", False),
        ("> 0", "many", False),
        ("!= 0", "many", False),
    ],
)
def test_a_value_is_compared_as_a_number_or_as_a_text(expect: str, value: str, well: bool) -> None:
    assert (checks.failure(checks.expectation(expect), [value]) == "") is well


@pytest.mark.parametrize("rows", [[], ["1", "1"], [None], ["1" * 1001]], ids=["none", "two", "NULL", "long"])
def test_what_is_not_one_value_never_passes(rows: list[str | None]) -> None:
    assert checks.failure(checks.expectation("> 0"), rows)
    assert checks.failure(checks.expectation("!= x"), rows)


@pytest.mark.parametrize("text", ["", "0", "> ", "=> 1", "== 1", "~ 1", "> 'a", "= 'a' b"])
def test_an_expectation_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a comparison"):
        checks.expectation(text)


def test_a_text_is_not_told() -> None:
    assert "secret@example.com" not in checks.failure(checks.expectation("= x"), ["secret@example.com"])


@pytest.mark.parametrize(
    "line",
    [
        "DB_PASSWORD=hunter22",
        'APP_KEY="hunter22"',
        "'password' => 'hunter22',",
        '{"api_token": "hunter22"}',
        "mysql://shop:hunter22@db/shop",
        "password: hunter22",
        "--password=hunter22",
        "using hunter22 to log in",
    ],
)
def test_an_output_is_freed_of_secrets(line: str) -> None:
    known = checks.secrets_in("APP_NAME=Shop\nexport MAIL_PASSWORD='hunter22'\nDB_PORT=3306\nREDIS_PASSWORD=null\n")
    assert known == {"hunter22"}
    said = checks.freed_of_secrets(line, known)
    assert "hunter22" not in said
    assert "hunter22" not in checks.freed_of_secrets(line, ()) or line.startswith("using")


def test_databases_whose_variables_are_the_same_are_alike() -> None:
    assert checks.alike(["a-b", "A_b", "ab"]) == ["a-b", "A_b"]
    assert checks.alike(["shop", "crm"]) == []
