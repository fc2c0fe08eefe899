"""A Redis cache that a service can live without.

While Redis is away every lookup is a miss, and costs nothing: after a failure the cache is left alone for a moment
instead of making every request wait for the same timeout.
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
        self._redis = redis.Redis(
            host=os.environ.get("REDIS_HOST", "redis-cache"),
            port=int(os.environ.get("REDIS_PORT", "6379")),
            socket_connect_timeout=TIMEOUT_SECONDS,
            socket_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )

    def get(self, key):
        """The stored bytes, or None when there are none or no Redis."""
        return self._attempt(lambda: self._redis.get(self._prefix + key))

    def put(self, key, value):
        self._attempt(lambda: self._redis.set(self._prefix + key, value, ex=TTL_SECONDS))

    def is_up(self):
        return bool(self._attempt(self._redis.ping))

    def _attempt(self, operation):
        if time.monotonic() < self._closed_until:
            return None
        try:
            return operation()
        except (redis.RedisError, OSError) as error:
            self._closed_until = time.monotonic() + PAUSE_SECONDS
            print(f"cache: going on without Redis for {PAUSE_SECONDS:.0f} s: {error}", flush=True)
            return None
