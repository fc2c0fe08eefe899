"""Keeps a service listed in the service registry, as long as it lives.

A service that no longer renews its entry is forgotten by the registry, so nothing has to be undone at the end. A service
works without the registry, too: then it is merely not listed.
"""

import http.client
import json
import os
import socket
import threading
import time

TTL_SECONDS = 30
TIMEOUT_SECONDS = 2


def keep_registered(service, port):
    """Starts a thread that renews the entry; does nothing when `REGISTRY` (host:port) is not set."""
    registry = os.environ.get("REGISTRY")
    if registry:
        threading.Thread(target=_renew_for_ever, args=(registry, service, port), daemon=True).start()


def register(registry, service, port):
    """Registers once; the registry takes the address from the connection."""
    connection = http.client.HTTPConnection(registry, timeout=TIMEOUT_SECONDS)
    try:
        connection.request(
            "PUT",
            f"/services/{service}/{socket.gethostname()}",
            body=json.dumps({"port": port, "ttl": TTL_SECONDS}),
            headers={"Content-Type": "application/json"},
        )
        status = connection.getresponse().status
        if status not in (200, 201):
            raise OSError(f"the registry answered {status}")
    finally:
        connection.close()


def _renew_for_ever(registry, service, port):
    listed = None
    while True:
        try:
            register(registry, service, port)
            now_listed = True
        except (OSError, http.client.HTTPException) as error:
            now_listed = False
            if listed is not False:
                print(f"{service}: not listed in the registry at {registry}: {error}", flush=True)
        if now_listed and listed is False:
            print(f"{service}: listed in the registry at {registry}", flush=True)
        listed = now_listed
        # Sooner while the registry is away: it forgets nobody then, because it knows nobody.
        time.sleep(TTL_SECONDS / 3 if listed else 2)
