# Airflow with Lifeboat in it. docker-compose.yaml and deploy/helm/values.yaml run it.
# Both bases are arguments, so that a build can pin them: --build-arg AIRFLOW=apache/airflow:…@sha256:…
ARG AIRFLOW=apache/airflow:3.3.2-python3.11
ARG DEBIAN=debian:sid-slim

# The clients of MySQL and of PostgreSQL 18, which no stable Debian has.
FROM ${DEBIAN} AS clients
COPY scripts/image-clients /tmp/image-clients
RUN /tmp/image-clients /opt/lifeboat/clients

# What takes a compiler: MySQL's driver and the package itself, each as a wheel.
FROM ${AIRFLOW} AS build
USER root
COPY scripts/system-packages /tmp/system-packages
RUN /tmp/system-packages run
USER airflow
COPY requirements.lock /tmp/requirements.lock
RUN sed -n '/^mysqlclient==/,/^    # via/p' /tmp/requirements.lock >/tmp/driver.txt \
    && pip wheel --no-cache-dir --no-deps --require-hashes --wheel-dir /tmp/driver -r /tmp/driver.txt
COPY --chown=airflow:root . /tmp/lifeboat
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /tmp/package /tmp/lifeboat

FROM ${AIRFLOW}
LABEL org.opencontainers.image.title="Lifeboat" \
      org.opencontainers.image.description="Airflow with Lifeboat: backups of databases and files, and their restores" \
      org.opencontainers.image.licenses="Apache-2.0"

USER root
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
COPY --from=clients /opt/lifeboat/clients /opt/lifeboat/clients
# Staging and local archives; /var/www is where compose keeps the application. Volumes take over whom they belong to.
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ca-certificates mariadb-client \
    && rm -rf /var/lib/apt/lists/* \
    && ln -s /opt/lifeboat/clients/bin/* /usr/local/bin/ \
    && install -d -o airflow -g root -m 0775 /var/lib/lifeboat/{,backups,staging} /var/www

USER airflow
COPY --chown=airflow:root requirements.txt requirements.lock /tmp/requirements/
COPY --from=build /tmp/driver /tmp/driver
# uv is in Airflow's image; pip takes hashes from constraints only since 26.1.
RUN python=$(command -v python) \
    && uv pip install --no-cache --compile-bytecode --no-deps --python "$python" /tmp/driver/*.whl \
    && uv pip install --no-cache --compile-bytecode --python "$python" \
        -c /tmp/requirements/requirements.lock -r /tmp/requirements/requirements.txt

# The package brings the page and the command; DAG files and settings lie where Airflow's users look for them.
COPY --from=build /tmp/package /tmp/package
RUN pip install --no-cache-dir --no-deps /tmp/package/*.whl
COPY --chown=airflow:root dags /opt/airflow/dags
COPY --chown=airflow:root include /opt/airflow/include
ENV LIFEBOAT_CONFIG=/opt/airflow/include/backup.yaml
# Of the API server, else of the other parts, which note in Airflow's database that they are alive. Celery's workers note
# nothing there: Compose asks each part its own question instead.
HEALTHCHECK --interval=60s --timeout=30s --start-period=120s \
    CMD curl --fail --silent --output /dev/null http://localhost:8080/api/v2/monitor/health \
        || airflow jobs check --local --allow-multiple
