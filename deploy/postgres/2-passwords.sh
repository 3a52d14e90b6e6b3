#!/bin/sh
# Run once by PostgreSQL's image on an empty volume, after 1-roles.sql. Passwords come from files and go in by standard input.
set -eu
for role in web worker auditor; do
  printf "ALTER USER dauso_%s PASSWORD '%s';\n" "$role" "$(cat "/run/secrets/database-$role")"
done | psql -v ON_ERROR_STOP=1 -q -U "$POSTGRES_USER" -d "$POSTGRES_DB"
