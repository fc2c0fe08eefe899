#!/bin/sh
# Starts PostgreSQL as process 1; makes the cluster first when the volume has none. Runs as `postgres`, needs no privilege.
#
# POSTGRES_USER, POSTGRES_DB: role and database to make (shop). POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE: its password.
# They count when the cluster is made; later the cluster knows.
set -eu

volume=/var/lib/postgresql/data
cluster=$volume/15
user=${POSTGRES_USER:-shop}
database=${POSTGRES_DB:-shop}

if [ ! -w "$volume" ]; then
    echo "postgres-db: $volume is not writable by uid $(id -u): give the volume to it, with mode 0700" >&2
    exit 1
fi

if [ ! -d "$cluster" ]; then
    echo "postgres-db: making a cluster in $cluster"
    if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
        POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
    fi
    if [ -z "${POSTGRES_PASSWORD:-}" ]; then
        echo "postgres-db: set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE" >&2
        exit 1
    fi
    # Made beside its place and moved in when it is complete: whoever is killed meanwhile begins anew.
    rm -rf "$cluster.partial"
    printf '%s\n' "$POSTGRES_PASSWORD" >/tmp/password
    initdb --pgdata "$cluster.partial" --username "$user" --pwfile /tmp/password --auth-local trust \
        --auth-host scram-sha-256 --encoding UTF8 --locale C --no-instructions >/tmp/initdb.log 2>&1 || {
        cat /tmp/initdb.log >&2
        exit 1
    }
    rm -f /tmp/password
    # From anywhere, with the password: who gets here is the network's business.
    echo 'host all all all scram-sha-256' >>"$cluster.partial/pg_hba.conf"
    echo "CREATE DATABASE \"$database\" OWNER \"$user\";" |
        postgres --single -D "$cluster.partial" -c log_min_messages=fatal postgres >/dev/null
    # The rest initdb and postgres have written down themselves.
    sync "$cluster.partial/pg_hba.conf"
    mv "$cluster.partial" "$cluster"
    sync "$volume"
fi

unset POSTGRES_PASSWORD
exec postgres -D "$cluster" -c config_file=/etc/postgresql/postgresql.conf \
    -c "hba_file=$cluster/pg_hba.conf" -c "ident_file=$cluster/pg_ident.conf"
