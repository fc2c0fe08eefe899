import socket
import threading
import unittest
from unittest.mock import patch

from werkzeug.serving import make_server

from loading import load

registry = load("service-registry", "registry")
service = load("service-registry")

from shop import registration  # noqa: E402 (found where `loading` says)


class Entries(unittest.TestCase):
    def setUp(self):
        self.now = 0.0
        self.registry = registry.Registry(clock=lambda: self.now)

    def instances(self, name):
        return [entry["instance"] for entry in self.registry.discover(name)]

    def test_an_entry_is_discovered_until_it_is_not_renewed(self):
        self.assertTrue(self.registry.register("web", "one", {"port": 80}, ttl=30))
        self.now = 29
        self.assertEqual(self.instances("web"), ["one"])
        self.assertFalse(self.registry.register("web", "one", {"port": 80}, ttl=30))
        self.now = 58
        self.assertEqual(self.instances("web"), ["one"])
        self.now = 59
        self.assertEqual(self.instances("web"), [])
        self.assertTrue(self.registry.register("web", "one", {"port": 80}, ttl=30))

    def test_instances_are_listed_by_service(self):
        for name, instance in (("web", "two"), ("web", "one"), ("db", "one")):
            self.registry.register(name, instance, {"port": 1}, ttl=30)
        self.assertEqual(self.instances("web"), ["one", "two"])
        self.assertEqual(list(self.registry.services()), ["db", "web"])

    def test_deregistering_says_whether_it_was_there(self):
        self.registry.register("web", "one", {}, ttl=30)
        self.assertTrue(self.registry.deregister("web", "one"))
        self.assertFalse(self.registry.deregister("web", "one"))

    def test_a_full_registry_renews_but_takes_nobody_new_until_somebody_is_silent(self):
        for number in range(registry.INSTANCES_LIMIT):
            self.registry.register("web", str(number), {}, ttl=30 + number)
        self.assertFalse(self.registry.register("web", "7", {}, ttl=1000))
        with self.assertRaises(registry.Full):
            self.registry.register("web", "more", {}, ttl=30)
        self.now = 30
        self.assertTrue(self.registry.register("web", "more", {}, ttl=30))


class Service(unittest.TestCase):
    def setUp(self):
        patcher = patch.object(service, "registry", registry.Registry())
        patcher.start()
        self.addCleanup(patcher.stop)
        self.client = service.app.test_client()

    def test_register_discover_list_deregister(self):
        self.assertEqual(self.client.put("/services/web/one", json={"port": 80, "ttl": 5}).status_code, 201)
        self.assertEqual(self.client.put("/services/web/one", json={"port": 80, "address": "10.0.0.7"}).status_code, 200)
        found = self.client.get("/services/web").json
        self.assertEqual((found[0]["instance"], found[0]["address"], found[0]["port"]), ("one", "10.0.0.7", 80))
        self.assertEqual(list(self.client.get("/services").json), ["web"])
        self.assertEqual(self.client.delete("/services/web/one").status_code, 204)
        self.assertEqual(self.client.get("/services/web").status_code, 404)
        self.assertEqual(self.client.delete("/services/web/one").status_code, 404)
        self.assertEqual(self.client.get("/health").json["services"], 0)

    def test_what_is_no_registration_is_refused(self):
        for told in (None, 1, {}, {"port": 0}, {"port": 65536}, {"port": "80"}, {"port": True}, {"port": 80, "ttl": 0},
                     {"port": 80, "ttl": 3601}, {"port": 80, "ttl": "x"}, {"port": 80, "address": "web"}, {"port": 80, "x": 1}):
            with self.subTest(told=told):
                self.assertEqual(self.client.put("/services/web/one", json=told).status_code, 400)
        for name in ("a b", "-a", "x" * 64):
            self.assertEqual(self.client.put(f"/services/{name}/one", json={"port": 80}).status_code, 400)
        self.assertEqual(self.client.get("/services").json, {})


class Registration(unittest.TestCase):
    def test_a_service_registers_with_the_address_it_comes_from(self):
        server = make_server("127.0.0.1", 0, service.app)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with patch.object(service, "registry", registry.Registry()) as entries, patch("werkzeug.serving._log"):
                registration.register(f"127.0.0.1:{server.port}", "web", 80)
                found = entries.discover("web")[0]
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
        self.assertEqual((found["address"], found["port"], found["instance"]), ("127.0.0.1", 80, socket.gethostname()))


if __name__ == "__main__":
    unittest.main()
