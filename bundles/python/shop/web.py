"""A Flask application as the shop wants it, and the server that runs it.

Every answer is JSON, errors included, and says in `X-Served-By` which replica it comes from.

A service has half a processor, so what Flask does for every request that no service here needs is left out: see `Service`
and `Answer`. README.md says what that is worth.
"""

import socket

from flask import Flask, Response, jsonify
from flask.sessions import SessionInterface
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter


class Answer(Response):
    """A response that is whole when it is made: it goes to the server as it is, without another copy of its headers."""

    default_mimetype = "application/json"

    def __call__(self, environ, start_response):
        if environ["REQUEST_METHOD"] == "HEAD" or "Content-Length" not in self.headers:
            return super().__call__(environ, start_response)
        start_response(self.status, self.headers.to_wsgi_list())
        return self.response


class NoSessions(SessionInterface):
    def open_session(self, app, request):
        return {}

    def save_session(self, app, session, response):
        pass


class Service(Flask):
    """Routes by path and method alone: nobody's name, port or scheme is looked at, and nobody has a session."""

    response_class = Answer
    session_interface = NoSessions()

    def create_url_adapter(self, request):
        if request is None:
            return None
        return MapAdapter(self.url_map, "", "/", "", "http", request.path, request.method, request.query_string)

    def ensure_sync(self, function):
        return function


def application(name):
    app = Service(name)
    replica = socket.gethostname()

    @app.errorhandler(HTTPException)
    def as_json(error):
        return jsonify(error=error.description), error.code

    @app.after_request
    def name_the_replica(response):
        # A gateway hands on what the replica behind it has said.
        response.headers.setdefault("X-Served-By", replica)
        return response

    return app


def serve(port, threads):
    """Serves what the function `worker` of the module `service` returns, until SIGTERM.

    One worker process: more would only take turns on the half processor that a container gets.
    """
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces
    from granian.log import LogLevels

    Granian(
        "service:worker",
        factory=True,
        interface=Interfaces.WSGI,
        address="0.0.0.0",
        port=port,
        http=HTTPModes.http1,
        websockets=False,
        workers=1,
        blocking_threads=threads,
        respawn_failed_workers=True,
        respawn_interval=0.1,
        workers_kill_timeout=5,
        log_level=LogLevels.error,
    ).serve()
