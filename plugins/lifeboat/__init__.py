"""Lifeboat: backups on Apache Airflow that prove they can be restored."""

__version__ = "0.1.0"
