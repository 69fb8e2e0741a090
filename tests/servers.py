"""Web servers of the tests."""

import contextlib
import functools
import threading


@contextlib.contextmanager
def serving(server):
    """Let a server answer in a thread of its own, and end both."""
    thread = threading.Thread(target=functools.partial(server.serve_forever, 0.02), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
