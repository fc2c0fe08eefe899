"""Orders in PostgreSQL.

An order is one INSERT, so it is either there or not, and it is acknowledged when PostgreSQL has committed it. Its key makes
it safe to try again: when a connection breaks nobody knows whether the order arrived, and the second attempt finds out.
"""

import json
import os
import queue
import struct
import time
from pathlib import Path

import pg8000.native
from pg8000.exceptions import DatabaseError, InterfaceError

TIMEOUT_SECONDS = 3.0
# PostgreSQL takes about a second to come back when it was killed; whoever asks us tries again after that.
PATIENCE_SECONDS = 2.5
LIST_LIMIT = 50

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key text NOT NULL UNIQUE,
    customer text NOT NULL,
    items jsonb NOT NULL,
    created timestamptz NOT NULL DEFAULT now()
)"""
# Two replicas that start at once would both find no table.
LOCK = "SELECT pg_advisory_lock(7203)"
UNLOCK = "SELECT pg_advisory_unlock(7203)"
COLUMNS = "id, key, customer, items, to_char(created AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
INSERT = f"""
INSERT INTO orders (key, customer, items) VALUES (:key, :customer, CAST(:items AS jsonb))
ON CONFLICT (key) DO NOTHING RETURNING {COLUMNS}"""
BY_KEY = f"SELECT {COLUMNS} FROM orders WHERE key = :key"
BY_ID = f"SELECT {COLUMNS} FROM orders WHERE id = :id"
LATEST = f"SELECT {COLUMNS} FROM orders ORDER BY id DESC LIMIT :limit"

# The server goes down, comes up, recovers, or has no connection left: it will be back. (Class 08 and 57P of its codes.)
COMES_BACK = ("08", "57P", "53300")


class Away(Exception):
    """The database has not come back in time."""


class Conflict(Exception):
    """The key belongs to another order."""


def connect():
    """A connection as the environment says."""
    secret = os.environ.get("POSTGRES_PASSWORD_FILE")
    return pg8000.native.Connection(
        user=os.environ.get("POSTGRES_USER", "shop"),
        password=Path(secret).read_text().strip() if secret else os.environ.get("POSTGRES_PASSWORD", "shop"),
        database=os.environ.get("POSTGRES_DB", "shop"),
        host=os.environ.get("POSTGRES_HOST", "postgres-db"),
        port=int(os.environ.get("POSTGRES_PORT", "5432")),
        timeout=TIMEOUT_SECONDS,
        application_name="order-service",
    )


class Orders:
    def __init__(self, connect=connect, patience=PATIENCE_SECONDS):
        self._connect, self._patience = connect, patience
        self._idle = queue.LifoQueue()
        self._has_schema = False

    def place(self, key, customer, items):
        """Stores an order once; returns it and whether it is new. Raises `Conflict` or `Away`."""

        def store(connection):
            new = connection.run(INSERT, key=key, customer=customer, items=json.dumps(items))
            return (new, True) if new else (connection.run(BY_KEY, key=key), False)

        rows, is_new = self._attempt(store)
        order = _as_dict(rows[0])
        if (order["customer"], order["items"]) != (customer, items):
            raise Conflict
        return order, is_new

    def find(self, order_id):
        rows = self._attempt(lambda connection: connection.run(BY_ID, id=order_id))
        return _as_dict(rows[0]) if rows else None

    def latest(self):
        """The last orders, the newest first."""
        rows = self._attempt(lambda connection: connection.run(LATEST, limit=LIST_LIMIT))
        return [_as_dict(row) for row in rows]

    def is_up(self):
        try:
            self._attempt(lambda connection: connection.run("SELECT 1"), patience=0)
            return True
        except Away:
            return False

    def _attempt(self, operation, patience=None):
        deadline = time.monotonic() + (self._patience if patience is None else patience)
        while True:
            try:
                return self._once(operation)
            except (InterfaceError, OSError, struct.error) as error:
                reason = error
            except DatabaseError as error:
                if not _code_of(error).startswith(COMES_BACK):
                    raise
                reason = error
            # What idles was opened before the database went away.
            while (connection := self._take_idle()) is not None:
                _close(connection)
            if time.monotonic() >= deadline:
                raise Away(str(reason)) from reason
            time.sleep(0.1)

    def _once(self, operation):
        connection = self._take_idle() or self._connect()
        try:
            if not self._has_schema:
                for statement in (LOCK, SCHEMA, UNLOCK):
                    connection.run(statement)
                self._has_schema = True
            result = operation(connection)
        except BaseException:
            _close(connection)
            raise
        self._idle.put(connection)
        return result

    def _take_idle(self):
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return None


def _as_dict(row):
    return dict(zip(("id", "key", "customer", "items", "created"), row, strict=True))


def _code_of(error):
    fields = error.args[0] if error.args else None
    return fields.get("C", "") if isinstance(fields, dict) else ""


def _close(connection):
    try:
        connection.close()
    except Exception:  # it was broken: that is why it is closed
        pass
