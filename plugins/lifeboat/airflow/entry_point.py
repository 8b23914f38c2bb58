"""The Backups page for an Airflow that has Lifeboat installed as a package."""

from __future__ import annotations

import importlib
import sys

# Airflow reads its plugins folder first, and complains about a plugin that it finds twice.
plugin = None if "lifeboat_plugin" in sys.modules else importlib.import_module("lifeboat_plugin").LifeboatPlugin
