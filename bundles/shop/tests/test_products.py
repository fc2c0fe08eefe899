import contextlib
import io
import json
import os
import unittest
from unittest.mock import patch

import redis

from loading import load
from replicas import dead_address

cache = load("product-service", "cache")
service = load("product-service")


class Memory:
    def __init__(self, up=True):
        self.stored, self.up = {}, up

    def get(self, key):
        return self.stored.get(key) if self.up else None

    def put(self, key, value):
        if self.up:
            self.stored[key] = value

    def is_up(self):
        return self.up


class Products(unittest.TestCase):
    def setUp(self):
        self.memory = Memory()
        patcher = patch.object(service, "cache", self.memory)
        patcher.start()
        self.addCleanup(patcher.stop)
        self.client = service.app.test_client()

    def test_the_list_is_a_miss_then_a_hit_with_the_same_text(self):
        first, second = (self.client.get("/products") for _ in range(2))
        self.assertEqual((first.headers["X-Cache"], second.headers["X-Cache"]), ("miss", "hit"))
        self.assertEqual((first.data, first.mimetype), (second.data, second.mimetype))
        self.assertEqual(set(first.json[0]), {"id", "name", "price_cents"})
        self.assertIn("X-Served-By", first.headers)

    def test_a_product_is_cached_by_its_own_key(self):
        self.assertEqual([self.client.get(f"/products/{i}").json["id"] for i in (1, 2, 1)], [1, 2, 1])
        self.assertEqual(set(self.memory.stored), {"products/1", "products/2"})

    def test_what_does_not_exist_is_404_and_not_remembered(self):
        self.assertEqual(self.client.get("/products/4711").status_code, 404)
        self.assertEqual(self.memory.stored, {})

    def test_without_its_cache_it_is_slower_not_ill(self):
        self.memory.up = False
        self.assertEqual([self.client.get("/products").headers["X-Cache"] for _ in range(2)], ["miss", "miss"])
        health = self.client.get("/health")
        self.assertEqual((health.status_code, health.json["cache"]), (200, "down"))


class RedisAway(unittest.TestCase):
    def test_a_cache_that_is_away_is_a_miss_and_then_left_alone(self):
        host, port = dead_address()
        with patch.dict(os.environ, REDIS_HOST=host, REDIS_PORT=str(port)), contextlib.redirect_stdout(io.StringIO()):
            away = cache.Cache("test:")
            self.assertIsNone(away.get("key"))
            with patch.object(cache, "_connection", side_effect=AssertionError("asked again")):
                self.assertIsNone(away.get("key"))

    def test_after_a_pause_it_is_asked_again(self):
        with self.answers(redis.ConnectionError("gone"), b"value"), patch.object(cache.time, "monotonic", side_effect=[1, 1, 2, 4]):
            back = cache.Cache("test:")
            self.assertEqual([back.get("key") for _ in range(3)], [None, None, b"value"])

    def test_kept_connections_that_were_closed_meanwhile_are_replaced_and_no_reason_to_pause(self):
        with self.answers(b"one", redis.ConnectionError("closed"), b"two"):
            restarted = cache.Cache("test:")
            self.assertEqual([restarted.get("key") for _ in range(2)], [b"one", b"two"])

    def test_an_answer_that_is_late_is_not_waited_for_again(self):
        with self.answers(b"one", redis.TimeoutError("late")):
            slow = cache.Cache("test:")
            self.assertEqual([slow.get("key") for _ in range(3)], [b"one", None, None])

    def test_entries_end_after_300_seconds(self):
        with self.answers("OK") as asked:
            cache.Cache("test:").put("key", b"value")
        self.assertEqual(asked.call_args.args[1], ("SET", "test:key", b"value", "EX", 300))

    @contextlib.contextmanager
    def answers(self, *answers):
        """Redis gives these, one for each command."""
        with contextlib.redirect_stdout(io.StringIO()), patch.object(cache, "_connection"):
            with patch.object(cache, "_exchange", side_effect=answers) as asked:
                yield asked


class Catalogue(unittest.TestCase):
    def test_ids_are_unique_and_every_product_is_whole(self):
        products = json.loads(service.CATALOGUE.read_text())
        self.assertEqual(len({product["id"] for product in products}), len(products))
        self.assertEqual({frozenset(product) for product in products},
                         {frozenset({"id", "name", "category", "price_cents", "stock"})})


if __name__ == "__main__":
    unittest.main()
