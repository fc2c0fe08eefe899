import threading
import unittest
from unittest.mock import patch

from loading import load
from replicas import CLOSE, Names, Replica, dead_address

upstream = load("api-gateway", "upstream")


def named(name):
    return lambda *request: (200, name.encode())


class Balancing(unittest.TestCase):
    def replica(self, answer):
        replica = Replica(answer)
        self.addCleanup(replica.close)
        return replica

    def upstream(self, *replicas, limit=8):
        self.names = Names(*(getattr(replica, "address", replica) for replica in replicas))
        return self.pool(upstream.Upstream("replicas", 5000, limit, resolve=self.names))

    def pool(self, made):
        made.look_up()

        def close():
            self.names.addresses = ()
            made.look_up()

        self.addCleanup(close)
        return made

    def test_requests_take_turns(self):
        pool = self.upstream(*(self.replica(named(name)) for name in "abc"))
        answers = [pool.request("GET", "/").body for _ in range(9)]
        self.assertEqual({name: answers.count(name) for name in answers}, {b"a": 3, b"b": 3, b"c": 3})

    def test_a_connection_is_kept_for_the_next_request(self):
        replica = self.replica(named("a"))
        pool = self.upstream(replica)
        for _ in range(5):
            pool.request("GET", "/")
        self.assertEqual(len(replica._connections), 1)

    def test_a_replica_that_refuses_costs_no_request_and_is_left_alone(self):
        alive = self.replica(named("alive"))
        pool = self.upstream(dead_address(), alive)
        self.assertEqual({pool.request("GET", "/").body for _ in range(6)}, {b"alive"})
        self.assertEqual(pool.state(), {"known": 2, "used": 1})

    def test_a_replica_that_dies_with_a_request_costs_no_request(self):
        dying, alive = self.replica(lambda *_: CLOSE), self.replica(named("alive"))
        pool = self.upstream(dying, alive)
        self.assertEqual({pool.request("GET", "/").body for _ in range(6)}, {b"alive"})
        self.assertEqual(len(dying.requests), 1)

    def test_a_replica_that_was_left_alone_gets_requests_again(self):
        now = [0.0]
        broken = [True]
        replica = self.replica(lambda *_: CLOSE if broken[0] else (200, b"back"))
        other = self.replica(named("other"))
        self.names = Names(replica.address, other.address)
        pool = self.pool(upstream.Upstream("replicas", 5000, 8, self.names, clock=lambda: now[0]))
        for _ in range(2):
            pool.request("GET", "/")
        broken[0] = False
        self.assertEqual({pool.request("GET", "/").body for _ in range(4)}, {b"other"})
        now[0] += upstream.EJECTION_SECONDS
        self.assertEqual({pool.request("GET", "/").body for _ in range(4)}, {b"other", b"back"})

    def test_a_kept_connection_that_was_closed_meanwhile_is_replaced(self):
        replica = self.replica(named("a"))
        pool = self.upstream(replica)
        pool.request("GET", "/")
        replica.close_connections()
        self.assertEqual(pool.request("GET", "/").status, 200)
        self.assertEqual(pool.state(), {"known": 1, "used": 1})

    def test_not_now_from_one_replica_is_asked_of_the_next(self):
        pool = self.upstream(self.replica(lambda *_: (503, b"not now")), self.replica(named("b")))
        self.assertEqual({pool.request("GET", "/").body for _ in range(4)}, {b"b"})

    def test_not_now_from_everybody_is_handed_back_when_patience_ends(self):
        pool = self.upstream(self.replica(lambda *_: (503, b"not now")))
        self.assertEqual(pool.request("GET", "/", patience=0).status, 503)

    def test_a_replica_that_comes_while_a_request_waits_answers_it(self):
        pool = self.upstream(dead_address())
        late = self.replica(named("late"))

        def look_up_again():
            self.names.addresses = (late.address,)
            pool.look_up()

        # A request sleeps when everybody has been asked.
        with patch.object(upstream.time, "sleep", lambda seconds: look_up_again()):
            self.assertEqual(pool.request("GET", "/", patience=30).body, b"late")

    def test_nobody_there_ends_with_patience(self):
        for addresses in ((dead_address(),), ()):
            with self.assertRaises(upstream.Unavailable):
                self.upstream(*addresses).request("GET", "/", patience=0)

    def test_a_replica_that_goes_silent_costs_time_and_no_request(self):
        release = threading.Event()
        self.addCleanup(release.set)
        silent = self.replica(lambda *_: release.wait(30) and CLOSE)
        halfway = self.replica(lambda *_: b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        pool = self.upstream(silent, halfway, self.replica(named("alive")))
        with patch.object(upstream, "ANSWER_SECONDS", 0.05):
            self.assertEqual({pool.request("GET", "/").body for _ in range(3)}, {b"alive"})
        self.assertEqual(pool.state(), {"known": 3, "used": 1})

    def test_more_than_the_limit_is_refused_at_once(self):
        arrived, go_on = threading.Event(), threading.Event()

        def slow(*request):
            arrived.set()
            go_on.wait(30)
            return 200, b"slow"

        pool = self.upstream(self.replica(slow), limit=1)
        first = threading.Thread(target=pool.request, args=("GET", "/"))
        first.start()
        self.assertTrue(arrived.wait(30))
        with self.assertRaises(upstream.Unavailable):
            pool.request("GET", "/")
        go_on.set()
        first.join()
        self.assertEqual(pool.request("GET", "/").body, b"slow")

    def test_replicas_come_and_go_with_what_the_name_resolves_to(self):
        first, second = self.replica(named("first")), self.replica(named("second"))
        pool = self.upstream(first)
        self.names.addresses = (first.address, second.address)
        pool.look_up()
        self.assertEqual({pool.request("GET", "/").body for _ in range(4)}, {b"first", b"second"})
        self.names.addresses = (second.address,)
        pool.look_up()
        self.assertEqual({pool.request("GET", "/").body for _ in range(4)}, {b"second"})

    def test_when_nobody_answers_for_names_the_last_known_stay(self):
        pool = self.upstream(self.replica(named("a")))
        self.names.addresses = None
        pool.look_up()
        self.assertEqual(pool.request("GET", "/").body, b"a")

    def test_a_request_arrives_as_it_was_sent(self):
        replica = self.replica(lambda *_: (201, b"x" * 200_000))
        answer = self.upstream(replica).request("POST", "/orders", b'{"a": 1}', (("Idempotency-Key", "k"),))
        self.assertEqual((answer.status, len(answer.body), answer.headers["x-cache"]), (201, 200_000, "hit"))
        method, path, headers, body = replica.requests[0]
        self.assertEqual((method, path, body, headers["idempotency-key"]), ("POST", "/orders", b'{"a": 1}', "k"))

    def test_an_answer_that_ends_early_or_has_no_length_is_a_failure(self):
        for answer in (b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", b"nonsense\r\n\r\n",
                       b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"):
            with self.subTest(answer=answer), self.assertRaises(upstream.Unavailable):
                self.upstream(self.replica(lambda *_: answer)).request("GET", "/", patience=0)

    def test_an_answer_without_a_body_leaves_the_connection_usable(self):
        replica = self.replica(lambda *_: b"HTTP/1.1 204 No Content\r\n\r\n")
        pool = self.upstream(replica)
        self.assertEqual([pool.request("GET", "/").status for _ in range(3)], [204] * 3)
        self.assertEqual(len(replica._connections), 1)

    def test_a_connection_that_says_close_is_not_used_again(self):
        replica = self.replica(lambda *_: b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        pool = self.upstream(replica)
        for _ in range(3):
            pool.request("GET", "/")
        self.assertEqual(len(replica.requests), 3)


if __name__ == "__main__":
    unittest.main()
