import json
import unittest

from loading import BUNDLES

MIB = 1 << 20
# The shop's brief: half a processor and 128 MiB, more only where it says so.
LIMITS = {
    "nginx-lb": (50000, 128), "api-gateway": (50000, 128), "product-service": (50000, 128), "order-service": (50000, 128),
    "service-registry": (50000, 128), "redis-cache": (None, 128), "postgres-db": (None, 256),
}


class Bundles(unittest.TestCase):
    def bundles(self):
        for name in LIMITS:
            with self.subTest(bundle=name):
                yield name, json.loads((BUNDLES / name / "config.json").read_text())

    def test_each_has_the_limits_of_the_brief(self):
        for name, config in self.bundles():
            resources = config["linux"]["resources"]
            quota, memory = LIMITS[name]
            self.assertEqual(resources.get("cpu", {}).get("quota"), quota)
            self.assertEqual((resources["memory"]["limit"], resources["memory"]["swap"]), (memory * MIB, memory * MIB))
            self.assertGreater(resources["pids"]["limit"], 0)

    def test_none_is_root_or_has_a_privilege_or_a_root_to_write_to(self):
        for _, config in self.bundles():
            process = config["process"]
            self.assertNotEqual(process["user"]["uid"], 0)
            self.assertTrue(process["noNewPrivileges"] and config["root"]["readonly"])
            self.assertFalse(any(process["capabilities"].values()))

    def test_what_is_bound_is_there_and_read_only(self):
        for name, config in self.bundles():
            for mount in (mount for mount in config["mounts"] if mount["type"] == "bind"):
                self.assertTrue((BUNDLES / name / mount["source"]).exists(), mount)
                self.assertIn("ro", mount["options"])

    def test_each_is_named_as_its_directory(self):
        for name, config in self.bundles():
            self.assertEqual(config["hostname"], name)


if __name__ == "__main__":
    unittest.main()
