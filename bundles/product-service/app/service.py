"""The product catalogue: a list and details, read from a file and cached in Redis.

    GET /health           200 and whether the cache can be reached
    GET /products         the list
    GET /products/<id>    one product, or 404

Answers about products carry `X-Cache: hit` or `X-Cache: miss`. What is cached is the text of the answer.
"""

import json
from pathlib import Path

from flask import Response, jsonify

from cache import Cache
from shop.registration import keep_registered
from shop.web import application, serve

PORT = 5000
THREADS = 4
CATALOGUE = Path(__file__).with_name("products.json")

app = application("product-service")
cache = Cache(prefix="product-service:")


def catalogue():
    return json.loads(CATALOGUE.read_text())


def product_list():
    return [{key: product[key] for key in ("id", "name", "price_cents")} for product in catalogue()]


def product(product_id):
    return next((product for product in catalogue() if product["id"] == product_id), None)


def cached(key, compute):
    """Answers from the cache, or from `compute` and remembers it. What does not exist is not remembered."""
    text, source = cache.get(key), "hit"
    if text is None:
        value, source = compute(), "miss"
        if value is None:
            return jsonify(error="no such product"), 404, {"X-Cache": source}
        text = json.dumps(value).encode()
        cache.put(key, text)
    return Response(text, mimetype="application/json", headers={"X-Cache": source})


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


def worker():
    keep_registered("product-service", PORT)
    print(f"product-service: listening on port {PORT}", flush=True)
    return app


if __name__ == "__main__":
    serve(PORT, THREADS)
