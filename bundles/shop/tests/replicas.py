"""Replicas for tests: servers on loopback that answer as they are told."""

import socket
import threading

CLOSE = object()  # instead of an answer: close the connection


class Replica:
    """Answers each request with what `answer(method, path, headers, body)` returns: (status, body), bytes, or CLOSE."""

    def __init__(self, answer):
        self.answer, self.requests = answer, []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        self._connections = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, connection.makefile("rb") as stream:
            try:
                while line := stream.readline():
                    method, path, _ = line.decode().split()
                    headers = {}
                    while (header := stream.readline().decode().strip()) != "":
                        name, _, value = header.partition(": ")
                        headers[name.lower()] = value
                    body = stream.read(int(headers.get("content-length", 0)))
                    self.requests.append((method, path, headers, body))
                    told = self.answer(method, path, headers, body)
                    if told is CLOSE:
                        return
                    if not isinstance(told, bytes):
                        status, body = told
                        told = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nX-Cache: hit\r\n\r\n".encode() + body
                    connection.sendall(told)
            except OSError:
                return

    def close_connections(self):
        while self._connections:
            try:
                self._connections.pop().shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is closed already

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.close_connections()


def dead_address():
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()


class Names:
    """A name service: `addresses` is what the only name resolves to; None when nobody answers."""

    def __init__(self, *addresses):
        self.addresses = addresses

    def __call__(self, name, port, type):
        if self.addresses is None:
            raise socket.gaierror("nobody answers for names")
        return [(socket.AF_INET, type, 6, "", address) for address in self.addresses]
