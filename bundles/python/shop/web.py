"""A Flask application as the shop wants it, and the server that runs it.

Every answer is JSON, errors included, and says in `X-Served-By` which replica it comes from.
"""

import socket

from flask import Flask, jsonify
from werkzeug.exceptions import HTTPException


def application(name):
    app = Flask(name)
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
