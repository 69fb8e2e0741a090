"""As much of Google's and Azure's object stores as their clients ask for, in memory."""

import contextlib
import http.server
import re
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from servers import serving

DATE = "Mon, 23 Nov 2026 00:00:00 GMT"


class Handler(http.server.BaseHTTPRequestHandler):
    """``/[ACCOUNT/]BUCKET/KEY``; a bucket is there if it is named so."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_any(self):
        server = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        bucket, _, key = unquote(address.path).removeprefix("/account").strip("/").partition("/")
        server.requests.append((self.command, key, self.headers))
        refusal = next((s for end, s in server.faults.items() if key.endswith(end)), None)
        if bucket != "bucket":
            code = "ContainerNotFound" if server.azure else "NoSuchBucket"
            self.answer(404, f"<Error><Code>{code}</Code></Error>".encode())
        elif refusal:
            self.answer(refusal, b"<Error><Code>Refused</Code></Error>")
        elif query.get("comp") == "batch":
            self.delete_many(body)
        elif not key:
            self.answer(200, self.listing(query).encode())
        elif self.command == "PUT":
            server.objects[key] = body
            self.answer(201 if server.azure else 200)
        elif key not in server.objects:
            self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        elif self.command == "DELETE":
            del server.objects[key]
            self.answer(202 if server.azure else 204)
        else:
            self.send_part(server.objects[key])

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

    def send_part(self, content):
        span = self.headers.get("Range") or self.headers.get("x-ms-range") or ""
        found = re.fullmatch(r"bytes=(\d*)-(\d*)", span)
        if found is None:
            self.answer(200, content)
            return
        first, last = found.groups()
        if not first and self.server.azure:
            self.answer(400)  # it has no suffixes
            return
        start = int(first) if first else max(0, len(content) - int(last))
        stop = min(int(last) + 1, len(content)) if first and last else len(content)
        self.answer(206, content[start:stop], f"bytes {start}-{stop - 1}/{len(content)}")

    def listing(self, query):
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        folders, files = set(), []
        for key, content in sorted(self.server.objects.items()):
            rest = key[len(prefix) :] if key.startswith(prefix) else None
            if rest is None:
                continue
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.partition(delimiter)[0] + delimiter)
            else:
                files.append((escape(key), len(content)))
        if self.server.azure:
            return (
                "<EnumerationResults><Blobs>"
                + "".join(f"<BlobPrefix><Name>{escape(f)}</Name></BlobPrefix>" for f in folders)
                + "".join(
                    f"<Blob><Name>{name}</Name><Properties><Last-Modified>{DATE}</Last-Modified>"
                    f"<Content-Length>{size}</Content-Length><Etag>1</Etag>"
                    "<Content-Type>x</Content-Type></Properties></Blob>"
                    for name, size in files
                )
                + "</Blobs><NextMarker/></EnumerationResults>"
            )
        return (
            "<ListBucketResult>"
            + "".join(f"<CommonPrefixes><Prefix>{escape(f)}</Prefix></CommonPrefixes>"
                      for f in folders)
            + "".join(
                f"<Contents><Key>{name}</Key><Size>{size}</Size><ETag>1</ETag>"
                "<LastModified>2026-11-23T00:00:00.000Z</LastModified></Contents>"
                for name, size in files
            )
            + "</ListBucketResult>"
        )  # fmt: skip

    def delete_many(self, body):
        parts = []
        paths = re.findall(r"DELETE (\S+) HTTP", body.decode())
        for number, path in enumerate(paths):
            key = unquote(urlsplit(path).path).split("bucket/", 1)[1]
            status = "202 Accepted" if self.server.objects.pop(key, None) else "404 Not Found"
            parts.append(
                "--batch\r\nContent-Type: application/http\r\n"
                f"Content-ID: {number}\r\n\r\nHTTP/1.1 {status}\r\nx-ms-request-id: 1\r\n\r\n\r\n"
            )
        content = "".join([*parts, "--batch--\r\n"]).encode()
        self.answer(202, content, kind="multipart/mixed; boundary=batch")

    def answer(self, status, content=b"", span=None, kind="application/xml"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", DATE)
        if span:
            self.send_header("Content-Range", span)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    """``objects`` by key, ``requests``, and ``faults``: a status by the end of a key."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, azure):
        super().__init__(("127.0.0.1", 0), Handler)
        self.azure = azure
        self.objects, self.requests, self.faults = {}, [], {}

    def handle_error(self, *_):
        pass

    def stored(self, prefix):
        start = f"{prefix}/"
        return {k[len(start) :]: v for k, v in self.objects.items() if k.startswith(start)}


@contextlib.contextmanager
def cloud(scheme):
    """Yield a store of a scheme, and the options to reach it."""
    with serving(Server(scheme == "az")) as server:
        endpoint = f"http://127.0.0.1:{server.server_port}"
        if scheme == "az":
            yield server, {"endpoint": f"{endpoint}/account", "account": "account"}
        else:
            yield server, {"endpoint": endpoint}
