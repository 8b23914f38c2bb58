"""What a stranger starts first: .env, docker-compose.yaml and its settings agree, and open nothing by default."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml
from lifeboat import __version__
from lifeboat.settings import config
from lifeboat.ui import metrics

from tests import compose
from tests.conftest import PROJECT
from tests.image.dockerfile import DOCKERFILE, copied, stages

PLACEHOLDER = re.compile(r"<[a-z]+-[a-z]+>")
READ_BY_COMPOSE_ITSELF = {"COMPOSE_PROFILES"}


def connections_of(settings: config.Settings) -> set[str]:
    """Return the ids of the connections that settings name."""
    return set(re.findall(r"connection: (?!null)(\w+)", yaml.safe_dump(settings.model_dump(mode="json"))))


@pytest.fixture
def written(tmp_path: Path) -> list[Path]:
    """The files that ``make env`` writes, .env first."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(PROJECT / "scripts" / "make-env", tmp_path / "scripts")
    shutil.copy(compose.EXAMPLE, tmp_path)
    subprocess.run([tmp_path / "scripts" / "make-env"], check=True, capture_output=True)
    return [tmp_path / ".env", *(tmp_path / "connections").iterdir()]


@pytest.fixture
def environment(written: list[Path]) -> dict[str, str]:
    """The variables of all these files."""
    return {name: value for path in written for name, value in compose.variables(path).items()}


@pytest.fixture
def everything(environment: dict[str, str]) -> dict[str, Any]:
    """The services of all profiles."""
    return compose.services(environment | {"COMPOSE_PROFILES": "demo,celery"})


def test_the_example_has_every_variable_that_compose_asks_for_and_no_other() -> None:
    connections = {name for name in compose.variables(compose.EXAMPLE) if name.startswith("AIRFLOW_CONN_")}
    told = set(compose.variables(compose.EXAMPLE)) - connections - READ_BY_COMPOSE_ITSELF
    assert told == set(compose.asked_for())
    for line in compose.FILE.read_text().splitlines():
        assert not re.search(r"\$\{(?!\w+:[-?])", line.replace("$${", "")), f"neither default nor demand: {line}"


def test_no_secret_has_a_default() -> None:
    example = compose.variables(compose.EXAMPLE)
    secret = {name for name in compose.asked_for() if re.search("PASSWORD|SECRET|KEY", name)}
    assert secret
    assert secret == {name for name, sign in compose.asked_for().items() if sign == "?"}
    assert all(PLACEHOLDER.fullmatch(example[name]) for name in secret)
    for name, value in example.items():
        if name.startswith("AIRFLOW_CONN_") and "password" in json.loads(value):
            assert PLACEHOLDER.fullmatch(json.loads(value)["password"]), name


def test_make_env_fills_every_placeholder_and_never_replaces_a_file(
    environment: dict[str, str], written: list[Path], tmp_path: Path
) -> None:
    assert {stat.S_IMODE(path.stat().st_mode) for path in written} == {0o600}
    assert environment.keys() == compose.variables(compose.EXAMPLE).keys()
    assert not any(PLACEHOLDER.search(value) for value in environment.values())
    assert json.loads(environment["AIRFLOW_CONN_MARKETPLACE_DB"])["password"] == environment["DEMO_PASSWORD"]
    secrets = [environment[name] for name in compose.asked_for() if re.search("PASSWORD|SECRET|KEY", name)]
    assert len(set(secrets)) == len(secrets)
    before = [path.read_text() for path in written]
    written[0].rename(tmp_path / "away")  # one that is left is enough
    assert subprocess.run([tmp_path / "scripts" / "make-env"], check=False, capture_output=True).returncode == 1
    assert not written[0].exists()
    assert [path.read_text() for path in written[1:]] == before[1:]


def test_setup_refuses_a_placeholder(environment: dict[str, str], everything: dict[str, Any], tmp_path: Path) -> None:
    stub = tmp_path / "airflow"
    stub.write_text("#!/bin/sh\necho migrated\n")
    stub.chmod(0o755)
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}

    def setup(variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
        command = everything["setup"]["command"]
        return subprocess.run(command, env=variables | path, capture_output=True, text=True, check=False)

    assert setup(environment).stdout == "migrated\n"
    refused = setup(compose.variables(compose.EXAMPLE))
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert "ADMIN_PASSWORD" in refused.stderr
    assert "AIRFLOW_CONN_LIFEBOAT_ARCHIVE" in refused.stderr
    assert "make env" in refused.stderr


SECRETS = {  # by the services that may have them; all others have none of these
    "databases": ["AIRFLOW_CONN_MARKETPLACE_DB"],
    "archives": ["AIRFLOW_CONN_BACKUPS_S3", "AIRFLOW_CONN_LIFEBOAT_ARCHIVE"],
    "alerts": ["AIRFLOW_CONN_BACKUPS_SMTP"],
    "login": ["ADMIN_PASSWORD"],
}
AIRFLOW = ["POSTGRES_PASSWORD", "AIRFLOW_SECRET", "AIRFLOW_FERNET_KEY"]  # all of its parts reach its database
TASKS = [*SECRETS["databases"], *SECRETS["archives"], *SECRETS["alerts"], *AIRFLOW, "REDIS_PASSWORD", "DEMO_PASSWORD"]
MAY_HAVE = {
    "api-server": [*SECRETS["archives"], *SECRETS["login"], *AIRFLOW, "DEMO_PASSWORD"],
    "scheduler": TASKS,
    "worker-1": TASKS,
    "worker-2": TASKS,
    "dag-processor": [*SECRETS["alerts"], *AIRFLOW],
    "triggerer": AIRFLOW,
    "marketplace-files": AIRFLOW,
    "redis": ["REDIS_PASSWORD"],
    "postgres": ["POSTGRES_PASSWORD"],
    "marketplace-db": ["DEMO_PASSWORD"],
    "s3": ["DEMO_PASSWORD"],
    "mailpit": [],
}


def test_each_container_has_its_own_secrets_only(
    environment: dict[str, str], everything: dict[str, Any], tmp_path: Path
) -> None:
    connections = {name for name in environment if name.startswith("AIRFLOW_CONN_")}
    passwords = {name: value for name, value in environment.items() if re.search("PASSWORD|SECRET|KEY", name)}
    has = {}
    for service, content in everything.items():
        given = compose.given(content, tmp_path)
        text = "\n".join(given.values())
        has[service] = (connections & given.keys()) | {name for name, value in passwords.items() if value in text}
    assert has.pop("setup") == connections | passwords.keys(), "it looks for placeholders everywhere, and ends"
    assert has == {service: set(names) for service, names in MAY_HAVE.items()}


def test_ports_are_open_on_this_machine_only(everything: dict[str, Any]) -> None:
    ports = [port for service in everything.values() for port in service.get("ports", [])]
    assert len(ports) == 2
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)


def test_no_container_fills_the_machine_or_gains_rights(everything: dict[str, Any]) -> None:
    for name, service in everything.items():
        assert re.fullmatch(r"\d+g", service["mem_limit"]), name
        assert service["pids_limit"] > 0, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
    assert everything["scheduler"]["mem_limit"] == everything["worker-1"]["mem_limit"] == "4g", "tasks run there"


def test_every_service_that_stays_is_watched(everything: dict[str, Any]) -> None:
    for name, service in everything.items():
        assert ("healthcheck" in service) == (service["restart"] == "unless-stopped"), name


def test_profiles_choose_what_runs(environment: dict[str, str]) -> None:
    alone = set(compose.services(environment | {"COMPOSE_PROFILES": ""}))
    assert alone == {"setup", "api-server", "scheduler", "dag-processor", "triggerer", "postgres"}
    demo = {"marketplace-db", "marketplace-files", "s3", "mailpit"}
    assert set(compose.services(environment)) == alone | demo
    celery = compose.services(environment | {"COMPOSE_PROFILES": "celery"})
    assert set(celery) == alone | {"redis", "worker-1", "worker-2"}
    for name, service in celery.items():
        assert set(service.get("depends_on", {})) <= set(celery), name


def test_the_file_is_what_the_compose_specification_says(environment: dict[str, str]) -> None:
    text = yaml.safe_dump(compose.document(environment))
    compose_spec.PyCompose.from_yaml(text).validate()
    with pytest.raises(ValueError, match="helthcheck"):
        compose_spec.PyCompose.from_yaml(text.replace("healthcheck:", "helthcheck:")).validate()


def test_the_demo_settings_name_connections_of_the_example_and_folders_of_the_volumes(
    everything: dict[str, Any],
) -> None:
    settings = config.load(PROJECT / "deploy" / "compose" / "backup.yaml")
    named = connections_of(settings)
    assert named == {"marketplace_db", "backups_s3", "lifeboat_archive", "backups_smtp"}
    assert {f"AIRFLOW_CONN_{name.upper()}" for name in named} <= set(compose.variables(compose.EXAMPLE))
    mounted = {volume.split(":")[1] for volume in everything["scheduler"]["volumes"]}
    assert {str(folder) for folder in settings.own_directories} <= mounted
    assert str(settings.files_of("Aimporo Marketplace").root.parent) in mounted
    assert "/opt/airflow/include/backup.yaml" in mounted


def test_each_stage_of_the_image_copies_what_there_is_from_a_base_that_an_argument_can_pin() -> None:
    text = DOCKERFILE.read_text()
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["${DEBIAN}", "${AIRFLOW}", "${AIRFLOW}"]
    before: set[str] = set()
    for stage in stages(text):
        for word, rest in stage.steps:
            if word == "COPY" and (source := re.search("--from=(\\w+)", rest)):
                assert source[1] in before
            elif word == "COPY":
                *sources, target = [name for name in rest.split() if not name.startswith("--")]
                assert all(copied(source, target) for source in sources)
        before.add(stage.name)
    release = (PROJECT / ".github" / "workflows" / "release.yml").read_text()
    assert set(re.findall(r"^ +(\w+)=\$\{\{ steps\.bases", release, re.MULTILINE)) == {"AIRFLOW", "DEBIAN"}


def test_the_image_has_no_compiler_no_root_labels_and_a_health_check() -> None:
    *_, build, image = stages(DOCKERFILE.read_text())
    assert any("system-packages run" in step.rest for step in build.steps)
    assert not any(re.search("gcc|-dev|system-packages", step.rest) for step in image.steps)
    assert [step.rest for step in image.steps if step.word == "USER"][-1] == "airflow"
    (labels,) = (step.rest for step in image.steps if step.word == "LABEL")
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert f'org.opencontainers.image.licenses="{project["license"]}"' in labels
    assert [step.word for step in image.steps].count("HEALTHCHECK") == 1


def test_an_instruction_that_the_image_check_cannot_carry_out_is_refused() -> None:
    (stage,) = stages("ARG BASE=debian:sid-slim\n# Why.\nFROM ${BASE} AS one\nRUN a \\\n  # and\n  && b\n")
    assert (stage.name, stage.base, stage.steps) == ("one", "debian:sid-slim", [("RUN", "a && b")])
    with pytest.raises(ValueError, match="VOLUME is not known"):
        stages("FROM debian:sid-slim\nVOLUME /data\n")
    with pytest.raises(ValueError, match="does not see secrets"):
        copied("secrets", "/tmp")


HELM = PROJECT / "deploy" / "helm"
CHARTS = {"in buckets": ["values.yaml"], "with volumes": ["values.yaml", "values-volumes.yaml"]}


def chart(variant: str) -> dict[str, Any]:
    """Return the values of a variant as Helm merges them: keys one by one, lists as a whole."""

    def merged(one: Any, other: Any) -> Any:
        if isinstance(one, dict) and isinstance(other, dict):
            return one | {key: merged(one.get(key), value) for key, value in other.items()}
        return other

    values: dict[str, Any] = {}
    for name in CHARTS[variant]:
        values = merged(values, yaml.safe_load((HELM / name).read_text()))
    return values


def claims_of(values: dict[str, Any]) -> set[str]:
    volumes = [volume["persistentVolumeClaim"] for volume in values["volumes"] if "persistentVolumeClaim" in volume]
    return {volume["claimName"] for volume in volumes}


@pytest.mark.parametrize("variant", CHARTS)
def test_the_chart_values_name_our_version_our_settings_and_options_that_airflow_has(variant: str) -> None:
    from airflow.configuration import conf

    values = chart(variant)
    assert values["images"]["airflow"]["tag"] == __version__
    assert f"apache/airflow:{values['airflowVersion']}-" in stages(DOCKERFILE.read_text())[-1].base
    assert [mount["name"] for mount in values["volumeMounts"]] == [volume["name"] for volume in values["volumes"]]
    (settings,) = (mount for mount in values["volumeMounts"] if mount["name"] == "lifeboat-settings")
    assert "subPath" not in settings, "Kubernetes never updates what is mounted so"
    assert values["env"] == [{"name": config.CONFIG_VARIABLE, "value": f"{settings['mountPath']}/backup.yaml"}]
    known = conf.configuration_description
    for section, options in values["config"].items():
        assert set(options) <= set(known[section]["options"]), section


def test_each_pod_has_its_own_connections_only() -> None:
    values, settings = chart("in buckets"), config.load(HELM / "backup.yaml")
    has: dict[str, set[str]] = {}
    for part, content in values.items():
        for variable in content.get("env", []) if isinstance(content, dict) else []:
            name = variable["name"]
            assert variable["valueFrom"]["secretKeyRef"] == {"name": "lifeboat-connections", "key": name}
            has.setdefault(part, set()).add(name.removeprefix("AIRFLOW_CONN_").lower())
    assert "extraEnvFrom" not in values, "all pods would have that"
    assert has == {
        "workers": connections_of(settings),
        "apiServer": {"lifeboat_archive", "backups_s3"},
        "dagProcessor": {"backups_smtp"},
        "triggerer": {"backups_s3"},
    }


def test_pods_that_share_no_volume_have_all_that_their_settings_need() -> None:
    values, settings = chart("in buckets"), config.load(HELM / "backup.yaml")
    assert claims_of(values) == set()
    assert not values["logs"]["persistence"]["enabled"], "the chart would claim a volume that all pods share"
    assert settings.own_directories == ()
    assert isinstance(settings.staging, config.Bucket)
    logs = values["config"]["logging"]
    bucket, _, folder = logs["remote_base_log_folder"].removeprefix("s3://").partition("/")
    assert bucket == settings.staging.bucket
    assert folder != settings.staging.prefix, "staging is swept"
    named = connections_of(settings)
    assert logs["remote_log_conn_id"] in named
    assert {f"AIRFLOW_CONN_{name.upper()}" for name in named} <= set(compose.variables(compose.EXAMPLE))


def test_pods_with_volumes_mount_what_is_claimed_and_what_the_shipped_settings_name() -> None:
    values = chart("with volumes")
    claimed = list(yaml.safe_load_all((HELM / "volumes.yaml").read_text()))
    assert claims_of(values) == {claim["metadata"]["name"] for claim in claimed}
    assert all(claim["spec"]["accessModes"] == ["ReadWriteMany"] for claim in claimed)
    assert values["logs"]["persistence"]["enabled"]
    assert values["config"]["logging"]["remote_logging"] == "False"
    mounted = {mount["mountPath"] for mount in values["volumeMounts"]}
    assert {str(folder) for folder in config.load(PROJECT / "include" / "backup.yaml").own_directories} <= mounted


def test_roles_replace_the_keys_of_every_part_that_reaches_buckets() -> None:
    values = chart("in buckets")
    parts = [name for name, part in values.items() if "AIRFLOW_CONN_BACKUPS_S3" in yaml.safe_dump(part)]
    roles = yaml.safe_load((HELM / "values-roles.yaml").read_text())
    assert sorted(roles) == sorted(parts)
    for part in roles.values():
        assert list(part["serviceAccount"]["annotations"]) == ["eks.amazonaws.com/role-arn"]


def test_the_network_policy_lets_tasks_reach_what_connections_name_and_nobody_reach_tasks() -> None:
    policy = yaml.safe_load((HELM / "networkpolicy.yaml").read_text())["spec"]
    assert policy["podSelector"]["matchLabels"]["component"] == "worker"
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy, "none is allowed"
    open_ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    assert open_ports == {53, 443, 465, 587, 3306, 5432, 8080}, "8080: Airflow's API"


def test_the_service_monitor_asks_where_the_metrics_are() -> None:
    (endpoint,) = yaml.safe_load((HELM / "servicemonitor.yaml").read_text())["spec"]["endpoints"]
    assert endpoint["path"] == "/lifeboat/metrics"
    assert endpoint["path"] in (PROJECT / "docs" / "PAGE.md").read_text()
    assert endpoint["authorization"]["credentials"] == {"name": "lifeboat-metrics", "key": "token"}
    assert "lifeboat-metrics --from-literal=token=" in (PROJECT / "docs" / "DEPLOYMENT.md").read_text()


def test_alert_rules_and_the_dashboard_ask_for_figures_that_we_give() -> None:
    settings = config.load(PROJECT / "include" / "backup.yaml")
    text = metrics.exposition(settings, {}, {}, datetime.now(UTC)).decode()
    given = set(re.findall(r"^# TYPE (lifeboat_\w+) gauge$", text, re.MULTILINE))
    groups = yaml.safe_load((PROJECT / "deploy" / "prometheus" / "alerts.yaml").read_text())["groups"]
    rules = [rule["expr"] for group in groups for rule in group["rules"]]
    board = json.loads((PROJECT / "deploy" / "grafana" / "dashboard.json").read_text())
    shown = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    for expression in rules + shown:
        assert set(re.findall(r"lifeboat_\w+", expression)) <= given, expression
        assert set(re.findall(r"kind=\"(\w+)\"", expression)) <= {"database", "application"}, expression
    assert set(re.findall(r"lifeboat_\w+", " ".join(shown))) == given, "the dashboard shows them all"
