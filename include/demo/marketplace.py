"""The demo application: a marketplace with everything that a dump must carry."""

from __future__ import annotations

from pathlib import Path

from include.demo.stand_ins import MariaDB

DATABASE = "marketplace"
ROWS = 120_000


def load(server: MariaDB, database: str = DATABASE, rows: int = ROWS) -> None:
    """Create and fill the marketplace in a new schema; one that is there already is replaced.

    :param rows: about the number of rows of all tables together.
    """
    text = Path(__file__).with_name("marketplace.sql").read_text(encoding="utf-8")
    server.run(f"DROP DATABASE IF EXISTS `{database}`; CREATE DATABASE `{database}` CHARACTER SET utf8mb4;")
    server.run(f"SET @rows = {rows};\n{text}", database)


def is_loaded(server: MariaDB, database: str = DATABASE) -> bool:
    """Whether the marketplace is there whole; its trigger is made last."""
    return server.run(f"SELECT count(*) FROM information_schema.triggers WHERE trigger_schema = '{database}'") == "1\n"
