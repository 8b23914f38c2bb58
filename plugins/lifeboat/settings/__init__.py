"""Settings: what the file says, validated, with the policies and limits that follow from it.

Belongs here: models of the file, reading it, wording its errors. Not here: what the settings name (`site`, `airflow`),
nor deciding what to do about it (`decide`).
"""
