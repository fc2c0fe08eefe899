"""A Redis cache that a service can live without.

While Redis is away every lookup is a miss, and costs nothing: after a failure the cache is left alone for a moment
instead of making every request wait for the same timeout.

Commands go over the Redis client's connections directly. Its pool, retries and metrics above them cost three times as much
processor time as a lookup, and all that is wanted of them is below.
"""

import os
import time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

TTL_SECONDS = 300
TIMEOUT_SECONDS = 0.25
PAUSE_SECONDS = 2.0


class Cache:
    def __init__(self, prefix):
        self._prefix = prefix
        self._closed_until = 0.0
        self._idle = []

    def get(self, key):
        """The stored bytes, or None when there are none or no Redis."""
        return self._attempt("GET", self._prefix + key)

    def put(self, key, value):
        self._attempt("SET", self._prefix + key, value, "EX", TTL_SECONDS)

    def is_up(self):
        return bool(self._attempt("PING"))

    def _attempt(self, *command):
        if time.monotonic() < self._closed_until:
            return None
        try:
            return self._ask(command)
        except (redis.RedisError, OSError) as error:
            self._closed_until = time.monotonic() + PAUSE_SECONDS
            print(f"cache: going on without Redis for {PAUSE_SECONDS:.0f} s: {error}", flush=True)
            return None

    def _ask(self, command):
        while True:
            try:
                connection, kept = self._idle.pop(), True
            except IndexError:
                connection, kept = _connection(), False
            try:
                answer = _exchange(connection, command)
            except redis.ConnectionError:
                if kept:
                    continue  # closed since it was used last, as when Redis has been restarted; the others end the same way
                raise
            self._idle.append(connection)
            return answer


def _connection():
    return redis.Connection(
        host=os.environ.get("REDIS_HOST", "redis-cache"),
        port=int(os.environ.get("REDIS_PORT", "6379")),
        protocol=2,
        socket_connect_timeout=TIMEOUT_SECONDS,
        socket_timeout=TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


def _exchange(connection, command):
    connection.send_command(*command)  # which connects first, and lets go of a connection that fails
    return connection.read_response()
