# Airflow with Lifeboat in it. docker-compose.yaml and deploy/helm/values.yaml run it.
FROM apache/airflow:3.3.2-python3.11

USER root
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
COPY scripts/system-packages /tmp/system-packages
# Staging and local archives; /var/www is where compose keeps the application. Volumes take over whom they belong to.
RUN /tmp/system-packages run \
    && rm -rf /tmp/system-packages /var/lib/apt/lists/* \
    && install -d -o airflow -g root -m 0775 /var/lib/lifeboat/{,backups,staging} /var/www

USER airflow
COPY --chown=airflow:root requirements.txt requirements.lock /tmp/requirements/
# uv is in Airflow's image; pip takes hashes from constraints only since 26.1.
RUN uv pip install --no-cache --compile-bytecode --python "$(command -v python)" \
    -c /tmp/requirements/requirements.lock -r /tmp/requirements/requirements.txt

# The package brings the page and the command; DAG files and settings lie where Airflow's users look for them.
COPY --chown=airflow:root . /tmp/lifeboat
RUN pip install --no-cache-dir --no-deps /tmp/lifeboat \
    && cp -r /tmp/lifeboat/dags /tmp/lifeboat/include /opt/airflow/ \
    && rm -rf /tmp/lifeboat /tmp/requirements
ENV LIFEBOAT_CONFIG=/opt/airflow/include/backup.yaml
