"""Who is there: instances by service, each forgotten when it does not renew its entry in time. Kept in memory."""

import threading
import time

INSTANCES_LIMIT = 1000


class Full(Exception):
    """As many instances as fit are registered."""


class Registry:
    def __init__(self, clock=time.monotonic):
        self._clock = clock
        self._lock = threading.Lock()
        self._entries = {}  # (service, instance) -> (entry, when it ends)

    def register(self, service, instance, entry, ttl):
        """Adds or renews; true when it is new."""
        with self._lock:
            self._forget_the_silent()
            new = (service, instance) not in self._entries
            if new and len(self._entries) >= INSTANCES_LIMIT:
                raise Full
            self._entries[service, instance] = entry, self._clock() + ttl
            return new

    def deregister(self, service, instance):
        """True when it was there."""
        with self._lock:
            self._forget_the_silent()
            return self._entries.pop((service, instance), None) is not None

    def discover(self, service):
        """The instances of a service, by name."""
        return self.services().get(service, [])

    def services(self):
        """All services with their instances, by name."""
        with self._lock:
            self._forget_the_silent()
            found = {}
            for (service, instance), (entry, end) in sorted(self._entries.items()):
                left = round(end - self._clock(), 1)
                found.setdefault(service, []).append({"instance": instance, **entry, "expires_in": left})
            return found

    def _forget_the_silent(self):
        now = self._clock()
        self._entries = {key: value for key, value in self._entries.items() if value[1] > now}
