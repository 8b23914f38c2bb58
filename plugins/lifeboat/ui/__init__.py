"""The Backups page in Airflow's own UI: reads, shows, and leaves every action to Airflow's API."""
