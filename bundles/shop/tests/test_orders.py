import contextlib
import io
import json
import unittest
from unittest.mock import patch

from loading import load
from pg8000.exceptions import DatabaseError, InterfaceError

orders = load("order-service", "orders")
service = load("order-service")
ITEMS = [{"product_id": 1, "quantity": 2}]


class Database:
    """A server with one table. `failures` says, statement by statement, what goes wrong: before it is done, or after."""

    def __init__(self):
        self.rows, self.connections, self.failures = {}, [], []

    def connect(self):
        self.connections.append(Connection(self))
        return self.connections[-1]


class Connection:
    def __init__(self, database):
        self.database, self.closed = database, False

    def run(self, statement, **values):
        assert not self.closed, "a closed connection is used"
        if statement in (orders.LOCK, orders.SCHEMA, orders.UNLOCK):
            return []
        when, failure = self.database.failures.pop(0) if self.database.failures else (None, None)
        if when == "before":
            raise failure
        found = self._run(statement, values)
        if when == "after":
            raise failure
        return found

    def _run(self, statement, values):
        rows = self.database.rows
        if statement == orders.INSERT:
            if values["key"] in rows:
                return []
            row = [len(rows) + 1, values["key"], values["customer"], json.loads(values["items"]), "2026-01-02T03:04:05.678Z"]
            rows[values["key"]] = row
            return [row]
        if statement == orders.BY_KEY:
            return [rows[values["key"]]]
        if statement == orders.BY_ID:
            return [row for row in rows.values() if row[0] == values["id"]]
        if statement == orders.LATEST:
            return sorted(rows.values(), reverse=True)[: values["limit"]]
        return [[1]]

    def close(self):
        self.closed = True


def broken():
    return InterfaceError("network error")


def refused(code):
    return DatabaseError({"C": code, "M": "no"})


class Placing(unittest.TestCase):
    def setUp(self):
        self.database = Database()
        self.orders = orders.Orders(self.database.connect, patience=0)
        self.patient = orders.Orders(self.database.connect, patience=30)

    def test_an_order_is_stored_and_found(self):
        order, is_new = self.orders.place("k", "Ada", ITEMS)
        self.assertTrue(is_new)
        self.assertEqual(self.orders.find(order["id"]), order)
        self.assertIsNone(self.orders.find(99))

    def test_the_same_key_stores_nothing_twice(self):
        first, _ = self.orders.place("k", "Ada", ITEMS)
        second, is_new = self.orders.place("k", "Ada", ITEMS)
        self.assertEqual((second, is_new, len(self.database.rows)), (first, False, 1))

    def test_the_same_key_with_another_order_is_a_conflict(self):
        self.orders.place("k", "Ada", ITEMS)
        for customer, items in (("Bob", ITEMS), ("Ada", [{"product_id": 2, "quantity": 2}])):
            with self.assertRaises(orders.Conflict):
                self.orders.place("k", customer, items)

    def test_a_connection_is_kept(self):
        for key in "abc":
            self.orders.place(key, "Ada", ITEMS)
        self.assertEqual(len(self.database.connections), 1)

    def test_a_connection_that_breaks_before_or_after_the_commit_stores_the_order_once(self):
        for when in ("before", "after"):
            with self.subTest(when=when):
                database = Database()
                database.failures = [(when, broken())]
                order, _ = orders.Orders(database.connect, patience=30).place("k", "Ada", ITEMS)
                self.assertEqual((order["customer"], len(database.rows)), ("Ada", 1))
                self.assertEqual([connection.closed for connection in database.connections], [True, False])

    def test_a_server_that_shuts_down_or_recovers_is_waited_for(self):
        for code in ("57P01", "57P03", "08006", "53300"):
            self.database.failures = [("before", refused(code))] * 2
            self.assertTrue(self.patient.place(code, "Ada", ITEMS)[1])

    def test_another_refusal_is_an_error_at_once_and_its_connection_is_not_used_again(self):
        self.database.failures = [("before", refused("42P01"))]
        with self.assertRaises(DatabaseError):
            self.patient.place("k", "Ada", ITEMS)
        self.assertTrue(self.database.connections[0].closed)

    def test_when_the_server_stays_away_patience_ends(self):
        self.database.failures = [("before", broken())] * 100
        with self.assertRaises(orders.Away):
            self.orders.place("k", "Ada", ITEMS)
        self.assertFalse(self.orders.is_up())

    def test_connections_that_idled_while_the_server_went_away_are_not_tried_one_by_one(self):
        idle = [self.database.connect() for _ in range(5)]
        for connection in idle:
            self.patient._idle.put(connection)
        self.database.failures = [("before", broken())]
        self.patient.place("k", "Ada", ITEMS)
        self.assertTrue(all(connection.closed for connection in idle))


class Service(unittest.TestCase):
    def setUp(self):
        self.database = Database()
        patcher = patch.object(service, "orders", orders.Orders(self.database.connect, patience=0))
        patcher.start()
        self.addCleanup(patcher.stop)
        self.client = service.app.test_client()

    def post(self, order, **headers):
        return self.client.post("/orders", json=order, headers=headers)

    def test_an_order_is_201_then_listed_and_found(self):
        placed = self.post({"customer": "Ada", "items": ITEMS})
        self.assertEqual((placed.status_code, placed.headers["Location"]), (201, "/api/orders/1"))
        self.assertEqual(self.client.get("/orders").json, [placed.json])
        self.assertEqual(self.client.get("/orders/1").json, placed.json)
        self.assertEqual(self.client.get(f"/orders/{10**30}").status_code, 404)

    def test_a_repeated_order_is_200_and_says_so(self):
        order = {"customer": "Ada", "items": ITEMS}
        first, second = (self.post(order, **{"Idempotency-Key": "k"}) for _ in range(2))
        self.assertEqual((second.status_code, second.headers["X-Replayed"], second.json), (200, "true", first.json))
        self.assertEqual(self.post({**order, "customer": "Bob"}, **{"Idempotency-Key": "k"}).status_code, 409)

    def test_what_is_no_order_is_refused_and_stores_nothing(self):
        good = {"customer": "Ada", "items": ITEMS}
        item = ITEMS[0]
        for bad in (
            None, [], {}, {"customer": "Ada"}, {**good, "more": 1}, {**good, "customer": ""}, {**good, "customer": 7},
            {**good, "customer": "x" * 201}, {**good, "customer": "a\0b"}, {**good, "items": []}, {**good, "items": {}},
            {**good, "items": [item] * 101}, {**good, "items": [1]}, {**good, "items": [{**item, "quantity": 0}]},
            {**good, "items": [{**item, "quantity": True}]}, {**good, "items": [{**item, "quantity": 1.5}]},
            {**good, "items": [{**item, "product_id": "1"}]}, {**good, "items": [{**item, "product_id": 2**63}]},
        ):
            with self.subTest(order=bad):
                answer = self.post(bad)
                self.assertEqual((answer.status_code, list(answer.json)), (400, ["error"]))
        self.assertEqual(self.client.post("/orders", data=b"{").status_code, 400)
        self.assertEqual(self.database.connections, [])

    def test_without_a_database_it_is_503_with_retry_after_and_ill(self):
        self.database.failures = [("before", broken())] * 100
        with contextlib.redirect_stdout(io.StringIO()):
            answer = self.post({"customer": "Ada", "items": ITEMS})
            health = self.client.get("/health")
        self.assertEqual((answer.status_code, answer.headers["Retry-After"]), (503, "1"))
        self.assertEqual((health.status_code, health.json["database"]), (503, "down"))
        self.database.failures = []
        self.assertEqual(self.client.get("/health").status_code, 200)


if __name__ == "__main__":
    unittest.main()
