"""Airflow: the only layer that knows it.

Belongs here: connections, operators, task groups, alerts, parameters of trigger forms, names that Airflow moved. Not
here: what a step does (`actions`), which also runs without Airflow.
"""
