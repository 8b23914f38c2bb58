"""What needs real servers, buckets and disks, but no running Airflow."""
