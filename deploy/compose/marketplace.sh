# Sourced by the image's entrypoint when the database is new: fills it, and lets Lifeboat's user make schemas and accounts for
# restores and drills.
{
    echo "ALTER DATABASE marketplace CHARACTER SET utf8mb4;"
    echo "SET @rows = 120000;"
    cat /marketplace.sql
} | docker_process_sql --database=marketplace
echo "GRANT ALL PRIVILEGES ON *.* TO 'backup'@'%' WITH GRANT OPTION;" | docker_process_sql
