"""An S3 endpoint in a process of its own, and a proxy before it that fails on request."""

import contextlib
import http.client
import http.server
import subprocess
import sys
import threading
import time
from urllib.parse import unquote, urlsplit

import obstore
from obstore.store import S3Store
from servers import serving

#: It ends with its standard input.
SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
server.stop()
"""
REFUSAL = b"<Error><Code>AccessDenied</Code><Message>no</Message><Signed>hidden</Signed></Error>"


@contextlib.contextmanager
def endpoint():
    """Yield the port of an S3 endpoint."""
    command = [sys.executable, "-W", "ignore", "-c", SERVER]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(20)


class Handler(http.server.BaseHTTPRequestHandler):
    """Pass requests on, unless the server is told to do something else."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_any(self):
        server = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        address = urlsplit(self.path)
        name = unquote(address.path)
        server.requests.append((self.command, name, self.headers, address.query))
        fault = server.fault(self.command, name)
        if isinstance(fault, float):
            time.sleep(fault)
        elif fault == "endless":
            self.send_endless()
            return
        elif fault is not None:
            self.answer(fault, {"Content-Type": "application/xml"}, REFUSAL)
            return
        upstream = http.client.HTTPConnection("127.0.0.1", server.upstream, timeout=60)
        with contextlib.closing(upstream):
            upstream.request(self.command, self.path, body, dict(self.headers))
            answer = upstream.getresponse()
            content = answer.read()
        if answer.status == 404 and server.lists is False and "NoSuchBucket" not in str(content):
            self.answer(403, {"Content-Type": "application/xml"}, REFUSAL)
            return
        self.answer(answer.status, dict(answer.headers), content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

    def answer(self, status, headers, content):
        self.send_response(status)
        length = headers.pop("Content-Length", None)
        for name in ("Connection", "Transfer-Encoding", "Date", "Server"):
            headers.pop(name, None)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header(
            "Content-Length", length if self.command == "HEAD" and length else len(content)
        )
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_endless(self):
        self.close_connection = True
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Last-Modified", "Mon, 23 Nov 2026 00:00:00 GMT")
        self.end_headers()
        piece = bytes(2**16)
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    def log_message(self, *_):
        pass


class Proxy(http.server.ThreadingHTTPServer):
    """What stands before an endpoint.

    ``faults`` maps the end of a key to what is done instead: a status,
    seconds to wait before the answer, or "endless", an answer without end;
    ``times`` says how often. Without
    ``lists`` the caller may not list: 403 for what is not there.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, upstream):
        super().__init__(("127.0.0.1", 0), Handler)
        self.upstream, self.requests = upstream, []
        self.faults, self.times, self.lists = {}, {}, True
        self.lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def fault(self, command, name):
        if self.lists is False and command == "GET" and name.count("/") == 1:
            return 403
        for end, fault in self.faults.items():
            method, _, key = end.rpartition(" ")
            if name.endswith(key) and method in ("", command):
                with self.lock:
                    left = self.times.get(end, sys.maxsize)
                    self.times[end] = left - 1
                return fault if left > 0 else None
        return None

    def handle_error(self, *_):
        pass


@contextlib.contextmanager
def proxy(port):
    """Yield a proxy before the endpoint at a port."""
    with serving(Proxy(port)) as server:
        yield server


class Bucket:
    """A bucket as its owner sees it."""

    def __init__(self, name, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with contextlib.closing(connection):
            connection.request("PUT", f"/{name}")
            assert connection.getresponse().status == 200
        self.name, self.endpoint = name, f"http://127.0.0.1:{port}"
        self.options = {"endpoint": self.endpoint}
        self.store = S3Store(
            name, endpoint=self.endpoint, region="us-east-1", access_key_id="owner",
            secret_access_key="owner", client_options={"allow_http": True},
        )  # fmt: skip

    def url(self, path):
        return f"s3://{self.name}/{path}"

    def put(self, key, content):
        obstore.put(self.store, key, content)

    def publish(self, prefix):
        """Let everybody read objects."""
        port = int(self.endpoint.rpartition(":")[2])
        login = "AWS4-HMAC-SHA256 Credential=owner/20260101/us-east-1/s3/aws4_request"
        headers = {"x-amz-acl": "public-read", "Authorization": login}
        for entry in obstore.list(self.store, prefix).collect():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            with contextlib.closing(connection):
                connection.request("PUT", f"/{self.name}/{entry['path']}?acl", headers=headers)
                assert connection.getresponse().status == 200

    def delete(self, key):
        obstore.delete(self.store, key)

    def upload(self, folder, prefix):
        """Copy a local folder; return its URL."""
        for file in folder.rglob("*"):
            if file.is_file():
                self.put(f"{prefix}/{file.relative_to(folder)}", file.read_bytes())
        return self.url(prefix)

    def stored(self, prefix):
        """Return all objects below a prefix."""
        start = len(prefix) + 1 if prefix else 0
        return {
            entry["path"][start:]: bytes(obstore.get(self.store, entry["path"]).bytes())
            for entry in obstore.list(self.store, prefix).collect()
        }
