"""A service registry: services say that they are there, and ask who else is.

    PUT    /services/<service>/<instance>    register or renew: {"port": 5000, "ttl": 30, "address": "10.0.0.7"}
    DELETE /services/<service>/<instance>    deregister
    GET    /services                         all services
    GET    /services/<service>               the instances of one, or 404
    GET    /health                           200

The address is that of the connection unless told; an entry that is not renewed within its ttl (seconds, 30 unless told) is
forgotten.
"""

import ipaddress
import re

from flask import abort, jsonify, request

from registry import Full, Registry
from shop.web import application, serve

PORT = 8500
THREADS = 4
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}", re.IGNORECASE)
TTL_SECONDS = 30
TTL_LIMIT = 3600

app = application("service-registry")
app.config["MAX_CONTENT_LENGTH"] = 4 << 10
registry = Registry()


def names(*given):
    for name in given:
        if not NAME.fullmatch(name):
            abort(400, f"{name!r} is not a name: letters, digits, '.', '_' and '-', at most 63")


def registration(told):
    """What an instance said of itself, checked: its entry and its ttl."""
    if not isinstance(told, dict) or not set(told) <= {"port", "address", "ttl"}:
        abort(400, "a JSON object with port, and perhaps address and ttl, is wanted")
    port, ttl = told.get("port"), told.get("ttl", TTL_SECONDS)
    if type(port) is not int or not 0 < port < 65536:
        abort(400, "port: a number from 1 to 65535 is wanted")
    if type(ttl) not in (int, float) or not 0 < ttl <= TTL_LIMIT:
        abort(400, f"ttl: seconds, more than 0 and at most {TTL_LIMIT}, are wanted")
    try:
        address = str(ipaddress.ip_address(told.get("address", request.remote_addr)))
    except ValueError:
        abort(400, "address: an IP address is wanted")
    return {"address": address, "port": port}, ttl


@app.get("/health")
def health():
    return jsonify(status="ok", service="service-registry", services=len(registry.services()))


@app.put("/services/<service>/<instance>")
def register(service, instance):
    names(service, instance)
    entry, ttl = registration(request.get_json(force=True, silent=True))
    try:
        new = registry.register(service, instance, entry, ttl)
    except Full:
        abort(503, "the registry is full")
    return jsonify(instance=instance, **entry, ttl=ttl), 201 if new else 200


@app.delete("/services/<service>/<instance>")
def deregister(service, instance):
    if not registry.deregister(service, instance):
        abort(404, f"no {instance} of {service} is registered")
    return "", 204


@app.get("/services")
def get_services():
    return jsonify(registry.services())


@app.get("/services/<service>")
def get_service(service):
    found = registry.discover(service)
    if not found:
        abort(404, f"nobody is registered as {service}")
    return jsonify(found)


def worker():
    print(f"service-registry: listening on port {PORT}", flush=True)
    return app


if __name__ == "__main__":
    serve(PORT, THREADS)
