"""Requests to the replicas behind one name, taking turns, over connections that stay open.

The name's addresses are looked up again every second, so replicas come and go without anybody telling the gateway: what a
name resolves to is who is healthy. Between two look-ups a replica that fails is left alone for a moment, and the request
goes to the next one. Requests may be repeated: they either only read, or carry a key that makes the repetition harmless.

The client is our own, not http.client: that one parses headers as if they were mail, which costs more processor time than
all the rest of a request.
"""

import itertools
import socket
import struct
import threading
import time
from dataclasses import dataclass, field

LOOKUP_SECONDS = 1.0
EJECTION_SECONDS = 2.0
CONNECT_SECONDS = 0.5
ANSWER_SECONDS = 4.0
HEAD_LIMIT = 32 << 10
BODY_LIMIT = 8 << 20


class Unavailable(Exception):
    """No replica has answered in time."""


class _Closed(Exception):
    """A kept connection was closed by the other side before it answered: an everyday thing, not a failure."""


@dataclass
class Answer:
    status: int
    headers: dict = field(default_factory=dict)  # names in lower case
    body: bytes = b""


class _Connection:
    def __init__(self, address):
        self._socket = socket.create_connection(address, timeout=CONNECT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The kernel's own timeouts: with one of Python's every call is two, because it asks poll() first.
        self._socket.settimeout(None)
        timeout = struct.pack("@ll", *divmod(int(ANSWER_SECONDS * 1_000_000), 1_000_000))
        for direction in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, direction, timeout)
        self._used = False

    def exchange(self, request):
        """Sends a request; returns its answer and whether the connection can be used again."""
        try:
            self._socket.sendall(request)
            received = self._socket.recv(65536)
        except (BrokenPipeError, ConnectionResetError):
            if self._used:
                raise _Closed from None
            raise
        except BlockingIOError:
            raise TimeoutError(f"no answer in {ANSWER_SECONDS} s") from None
        if not received:
            raise _Closed if self._used else ConnectionError("closed without an answer")
        self._used = True
        return self._read_answer(received)

    def _read_answer(self, received):
        while (end := received.find(b"\r\n\r\n")) < 0:
            if len(received) > HEAD_LIMIT:
                raise ConnectionError("endless headers")
            received += self._receive()
        status_line, *lines = received[:end].decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        try:
            protocol, status = status_line.split(" ", 2)[:2]
            answer = Answer(int(status), headers)
            length = 0 if answer.status in (204, 304) else int(headers["content-length"])
        except (KeyError, ValueError):
            raise ConnectionError(f"no answer with a length: {status_line[:80]!r}") from None
        if not 0 <= length <= BODY_LIMIT:
            raise ConnectionError(f"an answer of {length} bytes")
        parts, missing = [received[end + 4 :]], length - (len(received) - end - 4)
        while missing > 0:
            parts.append(self._receive())
            missing -= len(parts[-1])
        answer.body = b"".join(parts)
        # More than was promised belongs to nobody: such a connection is not used again.
        return answer, missing == 0 and protocol == "HTTP/1.1" and headers.get("connection", "").lower() != "close"

    def _receive(self):
        try:
            more = self._socket.recv(65536)
        except BlockingIOError:
            raise TimeoutError(f"no more of an answer in {ANSWER_SECONDS} s") from None
        if not more:
            raise ConnectionError("closed in the middle of an answer")
        return more

    def close(self):
        self._socket.close()


class _Replica:
    def __init__(self, address):
        self.address = address
        self.ejected_until = 0.0
        self._idle = []

    def exchange(self, request):
        while True:
            connection = self._idle_connection() or _Connection(self.address)
            try:
                answer, reusable = connection.exchange(request)
            except _Closed:
                connection.close()
                continue  # the idle ones end some time, then it is a new connection, for which this is an error
            except BaseException:
                connection.close()
                raise
            if reusable:
                self._idle.append(connection)
            else:
                connection.close()
            return answer

    def _idle_connection(self):
        try:
            return self._idle.pop()  # the last one used: the others can grow old and be closed
        except IndexError:
            return None

    def forget(self):
        while connection := self._idle_connection():
            connection.close()


class Upstream:
    """The replicas of `name`; requests beyond `limit` at a time are refused at once."""

    def __init__(self, name, port, limit, resolve=socket.getaddrinfo, clock=time.monotonic):
        self._name, self._port = name, port
        self._slots = threading.BoundedSemaphore(limit)
        self._resolve, self._clock = resolve, clock
        self._replicas = []
        self._turn = itertools.count()

    def start(self):
        """Looks the name up now, and from then on every second in a thread."""
        self.look_up()
        threading.Thread(target=self._look_up_for_ever, daemon=True).start()

    def look_up(self):
        try:
            found = self._resolve(self._name, self._port, type=socket.SOCK_STREAM)
        except OSError:
            # Whoever answers for names may be away; the replicas need not be. Those that are fail by themselves.
            return
        addresses = sorted({entry[4][:2] for entry in found})
        known = {replica.address: replica for replica in self._replicas}
        if addresses != list(known):
            self._replicas = [known.pop(address, None) or _Replica(address) for address in addresses]
            for gone in known.values():
                gone.forget()

    def _look_up_for_ever(self):
        while True:
            time.sleep(LOOKUP_SECONDS)
            self.look_up()

    def state(self):
        """How many replicas are known, and how many of them get requests."""
        replicas, now = self._replicas, self._clock()
        return {"known": len(replicas), "used": sum(replica.ejected_until <= now for replica in replicas)}

    def request(self, method, path, body=b"", headers=(), patience=8.0):
        """The answer of whoever answers first, as long as `patience` (seconds) lasts; raises `Unavailable`."""
        if not self._slots.acquire(blocking=False):
            raise Unavailable(f"{self._name}: as many requests as may wait for it do")
        try:
            return self._request(_request_bytes(method, path, self._name, body, headers), patience)
        finally:
            self._slots.release()

    def _request(self, request, patience):
        deadline = self._clock() + patience
        tried, reason, refusal = set(), "its name leads nowhere", None
        while True:
            replica = self._next(tried)
            if replica is None:
                # Everybody has been asked: a moment later somebody may have come back, or be new.
                if self._clock() >= deadline:
                    if refusal:
                        return refusal
                    raise Unavailable(f"{self._name}: {reason}")
                time.sleep(0.1)
                tried.clear()
                if not self._replicas:
                    self.look_up()
                continue
            tried.add(replica)
            try:
                answer = replica.exchange(request)
            except OSError as error:
                replica.ejected_until = self._clock() + EJECTION_SECONDS
                replica.forget()
                reason = str(error) or type(error).__name__
                continue
            if answer.status == 503:  # "not now": another replica may be better off
                refusal = answer
                continue
            return answer

    def _next(self, tried):
        """The next in turn that has not been tried, of those that work if there are any."""
        left = [replica for replica in self._replicas if replica not in tried]
        if not left:
            return None
        now = self._clock()
        working = [replica for replica in left if replica.ejected_until <= now] or left
        return working[next(self._turn) % len(working)]


def _request_bytes(method, path, host, body, headers):
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "\r\n")).encode("latin-1") + body
