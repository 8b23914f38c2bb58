"""What runs in Airflow: DAGs, the scheduler, alerts, the page."""
