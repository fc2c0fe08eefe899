"""The product catalogue: a list and details, read from a file and cached in Redis.

    GET /health           200 and whether the cache can be reached
    GET /products         the list
    GET /products/<id>    one product, or 404

Answers about products carry `X-Cache: hit` or `X-Cache: miss`.
"""

import json
import logging
import signal
import socket
import sys
from pathlib import Path

import waitress
from flask import Flask, jsonify
from werkzeug.exceptions import HTTPException

from cache import Cache

PORT = 5000
THREADS = 4
CATALOGUE = Path(__file__).with_name("products.json")

app = Flask(__name__)
cache = Cache(prefix="product-service:")


def catalogue():
    return json.loads(CATALOGUE.read_text())


def product_list():
    return [{key: product[key] for key in ("id", "name", "price_cents")} for product in catalogue()]


def product(product_id):
    return next((product for product in catalogue() if product["id"] == product_id), None)


def cached(key, compute):
    """Answers from the cache, or from `compute` and remembers it. What does not exist is not remembered."""
    value, source = cache.get(key), "hit"
    if value is None:
        value, source = compute(), "miss"
        if value is None:
            return jsonify(error="no such product"), 404, {"X-Cache": source}
        cache.put(key, value)
    return jsonify(value), 200, {"X-Cache": source}


@app.get("/health")
def health():
    # Without its cache the service is slower, not ill.
    return jsonify(status="ok", service="product-service", cache="up" if cache.is_up() else "down")


@app.get("/products")
def get_products():
    return cached("products", product_list)


@app.get("/products/<int:product_id>")
def get_product(product_id):
    return cached(f"products/{product_id}", lambda: product(product_id))


@app.errorhandler(HTTPException)
def as_json(error):
    return jsonify(error=error.description), error.code


@app.after_request
def name_the_replica(response):
    response.headers["X-Served-By"] = socket.gethostname()
    return response


def main():
    # The first process of a pid namespace ignores signals that it has no handler for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # Requests that wait for a thread are everyday life under load; a log line for each costs more than the request.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    print(f"product-service: listening on port {PORT}", flush=True)
    waitress.serve(app, host="0.0.0.0", port=PORT, threads=THREADS, ident=None)


if __name__ == "__main__":
    main()
