"""The DAG files of a Lifeboat that is installed as a package, as a bundle of Airflow's."""

from __future__ import annotations

from importlib.metadata import files
from pathlib import Path
from typing import Any

from lifeboat.airflow.compat import LocalDagBundle
from lifeboat.settings.config import PROJECT


class LifeboatBundle(LocalDagBundle):
    """For ``[dag_processor] dag_bundle_config_list``; takes no arguments."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(path=str(dags_folder()), **kwargs)


def dags_folder() -> Path:
    """Return where the package has its DAG files, or the project has, when it is installed as it stands."""
    for file in files("airflow-lifeboat") or ():
        if file.match("share/lifeboat/dags/*.py"):
            return Path(str(file.locate())).resolve().parent
    return PROJECT / "dags"
