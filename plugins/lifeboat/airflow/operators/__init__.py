"""Thin Airflow operators over the engine, one module per step."""
