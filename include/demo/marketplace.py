"""The demo application: a marketplace with everything that a dump must carry."""

from __future__ import annotations

import random
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


def write_files(root: Path) -> None:
    """Make the folder of the application, as Laravel lays it out; what is there already stays."""
    texts = {
        ".env": "APP_NAME='Aimporo Marketplace'\nDB_DATABASE=marketplace\n",
        "public/index.php": "<?php\nrequire __DIR__ . '/../vendor/autoload.php';\n",
        "storage/logs/laravel.log": "[2026-11-23 10:00:00] production.INFO: order accepted\n" * 2000,
        "vendor/autoload.php": "<?php // composer brings this back\n",
        **{f"storage/app/invoices/{number:04}.txt": f"Invoice {number}\n" * 40 for number in range(200)},
    }
    for name, text in texts.items():
        _write(root / name, text.encode())
    for number in range(40):
        _write(root / f"storage/app/public/product-{number:02}.jpg", random.Random(number).randbytes(20_000))
    link = root / "public" / "storage"
    if not link.is_symlink():
        link.symlink_to("../storage/app/public")


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_bytes(content)


def is_loaded(server: MariaDB, database: str = DATABASE) -> bool:
    """Return whether the marketplace is complete: its trigger is created last."""
    return server.run(f"SELECT count(*) FROM information_schema.triggers WHERE trigger_schema = '{database}'") == "1\n"
