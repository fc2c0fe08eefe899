"""Orders, kept in PostgreSQL.

    POST /orders         {"customer": "Ada", "items": [{"product_id": 1, "quantity": 2}]}: 201 and the order
    GET  /orders         the last 50, the newest first
    GET  /orders/<id>    one, or 404
    GET  /health         200 when the database answers, else 503

201 means that the order is on disk. A POST with an `Idempotency-Key` may be repeated: the second answer is 200, with the same
order and `X-Replayed: true`; the same key with another order is 409. While the database is away it is 503 with `Retry-After`.
"""

import uuid

from flask import abort, jsonify, request

from orders import Away, Conflict, Orders
from shop.registration import keep_registered
from shop.web import application, serve

PORT = 5000
THREADS = 8
ITEMS_LIMIT = 100
QUANTITY_LIMIT = 1000
TEXT_LIMIT = 200
ID_LIMIT = 2**63 - 1

app = application("order-service")
app.config["MAX_CONTENT_LENGTH"] = 64 << 10
orders = Orders()


@app.errorhandler(Away)
def away(reason):
    print(f"order-service: the database is away: {reason}", flush=True)
    return jsonify(error="the database is away, try again in a moment"), 503, {"Retry-After": "1"}


def text(value, name):
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_LIMIT or "\0" in value:
        abort(400, f"{name}: a text of 1 to {TEXT_LIMIT} characters is wanted")
    return value


def number(value, name, limit):
    if type(value) is not int or not 0 < value <= limit:
        abort(400, f"{name}: a number from 1 to {limit} is wanted")
    return value


def checked(order):
    """Customer and items of an order as it came, or 400."""
    if not isinstance(order, dict) or set(order) != {"customer", "items"}:
        abort(400, "a JSON object with customer and items is wanted")
    items = order["items"]
    if not isinstance(items, list) or not 0 < len(items) <= ITEMS_LIMIT:
        abort(400, f"items: a list of 1 to {ITEMS_LIMIT} is wanted")
    for item in items:
        if not isinstance(item, dict) or set(item) != {"product_id", "quantity"}:
            abort(400, "items: objects with product_id and quantity are wanted")
        number(item["product_id"], "product_id", ID_LIMIT)
        number(item["quantity"], "quantity", QUANTITY_LIMIT)
    return text(order["customer"], "customer"), items


@app.get("/health")
def health():
    up = orders.is_up()
    answer = jsonify(status="ok" if up else "ill", service="order-service", database="up" if up else "down")
    return answer, 200 if up else 503


@app.post("/orders")
def place():
    customer, items = checked(request.get_json(force=True, silent=True))
    key = text(request.headers.get("Idempotency-Key", uuid.uuid4().hex), "Idempotency-Key")
    try:
        order, is_new = orders.place(key, customer, items)
    except Conflict:
        abort(409, "this Idempotency-Key was used for another order")
    headers = {"Location": f"/api/orders/{order['id']}"}
    return (jsonify(order), 201, headers) if is_new else (jsonify(order), 200, {**headers, "X-Replayed": "true"})


@app.get("/orders")
def latest():
    return jsonify(orders.latest())


@app.get("/orders/<int:order_id>")
def find(order_id):
    order = orders.find(order_id) if order_id <= ID_LIMIT else None
    if order is None:
        abort(404, "no such order")
    return jsonify(order)


def worker():
    keep_registered("order-service", PORT)
    print(f"order-service: listening on port {PORT}", flush=True)
    return app


if __name__ == "__main__":
    serve(PORT, THREADS)
