import contextlib
import io
import unittest
from unittest.mock import patch

from loading import load

upstream = load("api-gateway", "upstream")
service = load("api-gateway")


class Fake:
    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def request(self, method, path, body, headers):
        self.asked.append((method, path, body, dict(headers)))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def state(self):
        return {"known": 1, "used": 0}


class Gateway(unittest.TestCase):
    def setUp(self):
        headers = {"content-type": "application/json", "x-served-by": "replica-2", "x-cache": "hit", "server": "x"}
        self.products, self.orders = Fake(upstream.Answer(200, headers, b"[]")), Fake(upstream.Answer(201, {}, b"{}"))
        for name in ("products", "orders"):
            patcher = patch.object(service, name, getattr(self, name))
            patcher.start()
            self.addCleanup(patcher.stop)
        self.client = service.app.test_client()

    def test_products_come_from_a_replica_and_say_which(self):
        answer = self.client.get("/api/products")
        self.assertEqual((answer.status_code, answer.data), (200, b"[]"))
        self.assertEqual((answer.headers["X-Served-By"], answer.headers["X-Cache"]), ("replica-2", "hit"))
        self.assertIn("X-Gateway", answer.headers)
        self.assertNotIn("Server", answer.headers)
        self.client.get("/api/products/7")
        self.assertEqual([asked[:2] for asked in self.products.asked], [("GET", "/products"), ("GET", "/products/7")])

    def test_an_order_is_handed_on_with_the_key_of_the_client(self):
        answer = self.client.post("/api/orders", data=b'{"x": 1}', headers={"Idempotency-Key": "mine"})
        self.assertEqual(answer.status_code, 201)
        method, path, body, headers = self.orders.asked[0]
        self.assertEqual((method, path, body, headers["Idempotency-Key"]), ("POST", "/orders", b'{"x": 1}', "mine"))

    def test_orders_without_a_key_get_one_each(self):
        for _ in range(2):
            self.client.post("/api/orders", data=b"{}")
        keys = {asked[3]["Idempotency-Key"] for asked in self.orders.asked}
        self.assertEqual(len(keys), 2)
        self.assertNotIn("", keys)

    def test_nobody_there_is_503_with_retry_after(self):
        self.products.answer = upstream.Unavailable("nobody")
        with contextlib.redirect_stdout(io.StringIO()):
            answer = self.client.get("/api/products")
        self.assertEqual((answer.status_code, answer.headers["Retry-After"]), (503, "1"))
        self.assertIn("error", answer.json)

    def test_health_is_well_without_replicas_and_says_so(self):
        answer = self.client.get("/health")
        self.assertEqual((answer.status_code, answer.json["products"]), (200, {"known": 1, "used": 0}))

    def test_what_it_does_not_know_is_refused_in_json(self):
        for path in ("/", "/api/nothing", "/api/products/x", "/api/products/1/2"):
            self.assertEqual((self.client.get(path).status_code, list(self.client.get(path).json)), (404, ["error"]))
        self.assertEqual(self.client.delete("/api/products").status_code, 405)
        self.assertEqual(self.client.post("/api/orders", data=b"x" * 100_000).status_code, 413)
        self.assertEqual(self.orders.asked, [])


if __name__ == "__main__":
    unittest.main()
