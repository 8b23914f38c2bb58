"""Schemas of every default collation come back equal, however a server spells the collations of columns."""

from __future__ import annotations

from pathlib import Path

import pytest
from lifeboat.databases import Load, Target
from lifeboat.decide import comparison

from tests.matrix.independent import fingerprint
from tests.matrix.pairs import of_mysql
from tests.matrix.subjects import CONNECTION, InMySQL, Subject, engine_of

COLLATIONS = ("utf8mb4_unicode_ci", "utf8mb4_general_ci", "utf8mb4_bin", "utf8mb3_unicode_ci", "latin1_swedish_ci")
TABLES = """
CREATE TABLE inherits (a VARCHAR(9) PRIMARY KEY, b TEXT, c ENUM('x', 'y'), d VARCHAR(30) NOT NULL DEFAULT 'COLLATE x');
CREATE TABLE says (a VARCHAR(9), b VARCHAR(9) COLLATE utf8mb4_unicode_ci, c VARCHAR(9) CHARACTER SET utf8mb4,
  d VARCHAR(9) CHARACTER SET latin1, e VARCHAR(9) CHARACTER SET latin1 COLLATE latin1_german2_ci, f BINARY(3))
  DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
CREATE TABLE alone (a VARCHAR(9)) DEFAULT CHARSET=utf8mb4;
CREATE TABLE older (a VARCHAR(9) CHARACTER SET utf8mb3, b VARCHAR(9) CHARACTER SET ucs2) DEFAULT CHARSET=utf8mb3;
INSERT INTO inherits (a, b, c) VALUES ('a', 'CHARACTER SET latin1 COLLATE x', 'x');
CREATE TABLE copied SELECT * FROM inherits;
CREATE TABLE likened LIKE says;
ALTER TABLE likened ADD COLUMN later VARCHAR(9) CHARACTER SET utf8mb4;
CREATE VIEW seen AS SELECT a, b FROM says WHERE a = 'b' COLLATE utf8mb4_bin;
CREATE FUNCTION f (t VARCHAR(9) CHARSET latin1) RETURNS VARCHAR(9) CHARSET utf8mb4 DETERMINISTIC RETURN t;
CREATE PROCEDURE p (t VARCHAR(9)) SELECT t COLLATE utf8mb4_bin;
CREATE TRIGGER t BEFORE INSERT ON says FOR EACH ROW SET NEW.a = concat(NEW.b, 'COLLATE latin1_bin');
"""

pytestmark = of_mysql


@pytest.mark.parametrize("collation", ["", *COLLATIONS], ids=["the server's own", *COLLATIONS])
def test_whatever_the_default_collation(
    subject: Subject, collation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(subject, InMySQL)
    charset = f"CHARACTER SET {collation.partition('_')[0]} COLLATE {collation}" if collation else ""
    subject.server.run(f"DROP DATABASE IF EXISTS words; CREATE DATABASE words {charset}")
    subject.server.run(TABLES, "words")
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", subject.connection())
    engine = engine_of(subject, tmp_path)
    chunks: list[bytes] = []
    captured = engine.dump("words", (), chunks.append)
    with subject.connect("words") as connection:
        before = fingerprint(connection, "words")
    for in_place, target in ((False, "copy"), (True, "words")):
        with engine.target(Target(target, "a key", captured, exists=in_place, in_place=in_place)) as place:
            engine.load(place.name, chunks, Load("words"))
            assert comparison.differences(captured, engine.read_back(place.name, ())) == []
    with subject.connect("words") as connection:
        assert fingerprint(connection, "words") == before
