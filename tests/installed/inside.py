"""What `test_releases` runs in an environment that has a release of Airflow and the installed package, and no tests.

Prints what it found as JSON in its last line.
"""

import json
import os
import select
import socket
import subprocess
import sys
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
from airflow.api_fastapi.app import create_app
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.providers_manager import ProvidersManager
from airflow.sdk.execution_time.comms import CommsDecoder, ConnectionResult, GetConnection
from fastapi.testclient import TestClient
from lifeboat import RequireFreshBackup
from lifeboat.airflow import compat

try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:  # before 3.2
    from airflow.models.dagbag import DagBag  # type: ignore[no-redef]


def run(*command: str) -> str:
    """Run a program of this environment; return what it printed."""
    program = Path(sys.executable).with_name(command[0])
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} exited with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


PARTS = ("", "answers", "runs", "archives", "destinations/local", "recovery")


def page() -> list[int]:
    """Return how the Backups page answers a stranger, and a user who looks at all of it."""
    api = TestClient(create_app())
    token = api.post("/auth/token", json={"username": "viewer", "password": "viewer"}).json()["access_token"]
    signed_in = {"Authorization": f"Bearer {token}"}
    stranger = api.get("/lifeboat/").status_code
    return [stranger, *(api.get(f"/lifeboat/{part}", headers=signed_in).status_code for part in PARTS)]


def parsed() -> dict[str, Any]:
    """Return the DAGs of Lifeboat's bundle, and what cannot be imported."""
    (bundle,) = DagBundlesManager().get_all_dag_bundles()  # type: ignore[no-untyped-call]
    bag = DagBag(dag_folder=str(bundle.path))
    return {"dags": sorted(bag.dag_ids), "errors": bag.import_errors}


def answer(supervisor: socket.socket) -> None:
    """Answer two requests for connections; where both have come, the later one first."""
    requests: list[tuple[int, str]] = []
    for _ in range(2):
        while not requests or select.select([supervisor], [], [], 0.5)[0]:
            length = int.from_bytes(supervisor.recv(4), "big")
            number, body, *_ = msgspec.msgpack.decode(supervisor.recv(length, socket.MSG_WAITALL))
            requests.append((number, body["conn_id"]))
        number, name = requests.pop()
        connection = dict.fromkeys(ConnectionResult.model_json_schema()["properties"]) | {
            "type": "ConnectionResult",
            "conn_id": name,
            "conn_type": "generic",
        }
        frame = msgspec.msgpack.encode([number, connection])
        supervisor.sendall(len(frame).to_bytes(4, "big") + frame)


def asked() -> dict[str, str]:
    """Return the connections that two threads of a task get, by the names that they ask for."""
    task, supervisor = socket.socketpair()
    comms: Any = CommsDecoder(socket=task)
    got: dict[str, str] = {}

    def ask(name: str) -> None:
        got[name] = comms.send(GetConnection(conn_id=name)).conn_id

    threads = [Thread(target=ask, args=(name,), daemon=True) for name in ("shop_db", "stock_db")]
    for thread in (Thread(target=answer, args=(supervisor,), daemon=True), *threads):
        thread.start()
    for thread in threads:
        thread.join(10)
    return got


def main() -> None:
    """Look at everything, and back up, check and rehearse as Airflow's command line does."""
    run("airflow", "db", "migrate")
    providers = ProvidersManager().providers  # type: ignore[no-untyped-call]
    found = {
        **parsed(),
        "names": sorted(name for name in compat.PLACES if not hasattr(compat, name)),
        "public": RequireFreshBackup.__name__,
        "provider": providers["airflow-lifeboat"].data["name"],
        "asked": asked(),
    }
    run("lifeboat", "init")
    run("airflow", "dags", "reserialize")
    for dag in ("backup_database", "backup_application", "restore_drill"):
        run("airflow", "dags", "test", dag)
    # Not the whole DAG, which finds that no scheduler runs here.
    run("airflow", "tasks", "test", "backup_check", "local.check")
    archives = json.loads(run("lifeboat", "list", "--json"))["archives"]
    proofs = list(Path(os.environ["ARCHIVES"]).rglob("*.proof.json"))
    sys.stdout.write(json.dumps(found | {"page": page(), "archives": len(archives), "proofs": len(proofs)}))


main()
