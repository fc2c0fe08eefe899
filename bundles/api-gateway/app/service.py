"""The shop's one door: hands requests to the services behind it.

    GET  /api/products         from the product replicas, in turns
    GET  /api/products/<id>
    GET  /api/orders           from the order service
    GET  /api/orders/<id>
    POST /api/orders
    GET  /health               200, and how many replicas it knows and uses

Answers carry what the replica said of itself (`X-Served-By`, `X-Cache`), and `X-Gateway`. When nobody answers in time it is
503 with `Retry-After`.
"""

import os
import socket
import uuid

from flask import Response, jsonify, request

from shop.registration import keep_registered
from shop.web import application, serve
from upstream import Unavailable, Upstream

PORT = 3000
# Most of them wait for a replica that has used up its share of the processor. What comes beyond waits in the server, where it
# costs no thread that would want the interpreter at the same moment as the others.
THREADS = 32
BODY_LIMIT = 64 << 10
HANDED_BACK = (("content-type", "Content-Type"), ("x-served-by", "X-Served-By"), ("x-cache", "X-Cache"),
               ("x-replayed", "X-Replayed"), ("location", "Location"), ("retry-after", "Retry-After"))


def _upstream(variable, default, limit):
    host, _, port = os.environ.get(variable, default).rpartition(":")
    return Upstream(host, int(port), limit)


app = application("api-gateway")
app.config["MAX_CONTENT_LENGTH"] = BODY_LIMIT
gateway = socket.gethostname()
products = _upstream("PRODUCTS", "product-service:5000", limit=THREADS)
# So that orders that wait for the database leave threads for everybody who only looks.
orders = _upstream("ORDERS", "order-service:5000", limit=THREADS - 8)


def hand_on(upstream, path, body=b"", headers=()):
    try:
        answer = upstream.request(request.method, path, body, headers)
    except Unavailable as reason:
        print(f"api-gateway: {reason}", flush=True)
        return jsonify(error="try again in a moment"), 503, {"Retry-After": "1", "X-Gateway": gateway}
    handed_back = {name: answer.headers[key] for key, name in HANDED_BACK if key in answer.headers}
    handed_back["X-Gateway"] = gateway
    return Response(answer.body, answer.status, handed_back)


@app.get("/health")
def health():
    # Who is behind it may come and go; the gateway is well as long as it can say so.
    return jsonify(status="ok", service="api-gateway", products=products.state(), orders=orders.state())


@app.get("/api/products")
def get_products():
    return hand_on(products, "/products")


@app.get("/api/products/<int:product_id>")
def get_product(product_id):
    return hand_on(products, f"/products/{product_id}")


@app.get("/api/orders")
def get_orders():
    return hand_on(orders, "/orders")


@app.get("/api/orders/<int:order_id>")
def get_order(order_id):
    return hand_on(orders, f"/orders/{order_id}")


@app.post("/api/orders")
def post_order():
    # With a key of ours the request can be repeated between the services; with one of the client's, by him as well.
    key = request.headers.get("Idempotency-Key") or uuid.uuid4().hex
    headers = (("Content-Type", "application/json"), ("Idempotency-Key", key))
    return hand_on(orders, "/orders", request.get_data(), headers)


def worker():
    products.start()
    orders.start()
    keep_registered("api-gateway", PORT)
    print(f"api-gateway: listening on port {PORT}", flush=True)
    return app


if __name__ == "__main__":
    serve(PORT, THREADS)
