#!/bin/sh
# Run once by PostgreSQL's image on an empty volume: the users of web and worker. Their rights come later, from `dauso grants`.
set -eu
for role in web worker; do
  psql -v ON_ERROR_STOP=1 -q -U "$POSTGRES_USER" -d "$POSTGRES_DB" -v password="$(cat "/run/secrets/database-$role")" <<SQL
CREATE USER dauso_$role PASSWORD :'password';
GRANT CONNECT ON DATABASE "$POSTGRES_DB" TO dauso_$role;
SQL
done
