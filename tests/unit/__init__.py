"""Tests of pure code: no server, no Airflow; `make check` runs them."""
