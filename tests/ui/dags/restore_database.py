"""Takes the values of a restore's form and does nothing with them."""

from __future__ import annotations

from airflow.sdk import DAG, Param, task

with DAG(
    dag_id="restore_database",
    schedule=None,
    tags=["lifeboat"],
    params={
        "application": Param("Shop", type="string", enum=["Shop", "Books"]),
        "archive": Param("latest", type="string", minLength=1, description="A key, 'latest' or a time."),
        "databases": Param([], type="array", items={"type": "string"}, examples=["one", "two"]),
        "target": Param(None, type=["null", "string"], title="Into database"),
        "safety_backup": Param(True, type="boolean"),
    },
):

    @task
    def restore() -> None:
        pass

    restore()
