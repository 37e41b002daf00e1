"""Open files of many kinds, as programs have them at hand, all of the same content."""

# ruff: noqa: SIM115 - the opener closes them

import bz2
import contextlib
import gzip
import http.client
import http.server
import io
import lzma
import mmap
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import urllib.request
import zipfile

import pytest

CONTENT = b"\x89PNG\r\n\x1a\n" + os.urandom(600_000)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the content over a connection that is kept; `/chunked` does so without its length."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for begin in range(0, len(CONTENT), 70_000):
                piece = CONTENT[begin : begin + 70_000]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT)

    def log_message(self, *_):
        """Say nothing."""


class Subclass(io.BytesIO): ...


class Reading:
    """The least that a file can be; `give` changes what it returns."""

    def __init__(self, give=lambda data: data, more=0):
        self._file = io.BytesIO(CONTENT)
        self._give, self._more = give, more

    def read(self, size):
        return self._give(self._file.read(size + self._more))


class Seeking(Reading):
    """One that has a position, too."""

    def seek(self, *place):
        return self._file.seek(*place)

    def tell(self):
        return self._file.tell()


class Opener:
    """Makes open files, and closes all that is left of them."""

    def __init__(self, folder):
        self.folder = folder
        self.stack = contextlib.ExitStack()
        self.path = folder / "content.png"
        self.path.write_bytes(CONTENT)

    def kept(self, thing):
        """Have a thing closed in the end, unless the file is closed by then."""
        self.stack.callback(thing.close)
        return thing

    def written(self, file):
        """Return a file that the content was written to, and that stands at its beginning."""
        file.write(CONTENT)
        file.seek(0)
        return file

    def pipe(self, **options):
        reading, writing = os.pipe()
        end = self.kept(os.fdopen(writing, "wb", buffering=0))
        self.aside(lambda: (end.write(CONTENT), end.close()))
        return self.kept(os.fdopen(reading, "rb", **options))

    def aside(self, work):
        """Have a thread write to the other end, which may be closed before all is read."""

        def write():
            with contextlib.suppress(OSError):
                work()

        thread = threading.Thread(target=write)
        thread.start()
        self.stack.callback(thread.join)

    def fifo(self):
        os.mkfifo(self.folder / "fifo")
        self.aside(lambda: (self.folder / "fifo").write_bytes(CONTENT))
        return self.kept((self.folder / "fifo").open("rb"))

    def socket(self, **options):
        ours, theirs = socket.socketpair()
        self.kept(theirs)
        self.aside(lambda: (theirs.sendall(CONTENT), theirs.close()))
        with ours:
            return self.kept(ours.makefile("rb", **options))

    def child(self):
        code = f"import shutil, sys; shutil.copyfileobj(open({str(self.path)!r}, 'rb'), sys.stdout.buffer)"
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        self.stack.enter_context(child)
        return child.stdout

    def pair(self):
        there, back = os.pipe(), os.pipe()
        end = self.kept(os.fdopen(back[1], "wb", buffering=0))
        self.aside(lambda: (end.write(CONTENT), end.close()))
        self.kept(os.fdopen(there[0], "rb"))
        raw = io.FileIO(back[0]), io.FileIO(there[1], "wb")
        return self.kept(io.BufferedRWPair(*raw))

    def packed(self, module):
        with module.open(self.folder / "packed", "wb") as file:
            file.write(CONTENT)
        return self.kept(module.open(self.folder / "packed", "rb"))

    def packed_pipe(self):
        """A pipe with what is compressed in it: it says that it can seek."""
        reading, writing = os.pipe()
        end = self.kept(os.fdopen(writing, "wb", buffering=0))
        self.aside(lambda: (end.write(gzip.compress(CONTENT, 1)), end.close()))
        return self.kept(gzip.GzipFile(fileobj=self.kept(os.fdopen(reading, "rb"))))

    def packed_reading(self):
        packed = Reading()
        packed._file = io.BytesIO(gzip.compress(CONTENT, 1))
        return self.kept(gzip.GzipFile(fileobj=packed))

    def zipped(self, kind):
        with zipfile.ZipFile(self.folder / "a.zip", "w", kind) as archive:
            archive.write(self.path, "content.png")
        return self.kept(self.kept(zipfile.ZipFile(self.folder / "a.zip")).open("content.png"))

    def tarred(self, writing, reading):
        with tarfile.open(self.folder / "a.tar", writing) as archive:
            archive.add(self.path, "content.png")
        archive = self.kept(tarfile.open(self.folder / "a.tar", reading))
        return self.kept(archive.extractfile(archive.next()))

    def serve(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        self.stack.callback(server.server_close)
        self.stack.callback(thread.join)
        self.stack.callback(server.shutdown)
        return server.server_port

    def response(self, path):
        connection = self.kept(http.client.HTTPConnection("127.0.0.1", self.serve()))
        connection.request("GET", path)
        return self.kept(connection.getresponse())

    def urlopen(self, url):
        return self.stack.enter_context(urllib.request.urlopen(url))

    def of_requests(self):
        session = self.stack.enter_context(pytest.importorskip("requests").Session())
        url = f"http://127.0.0.1:{self.serve()}/"
        return self.stack.enter_context(session.get(url, stream=True, timeout=60)).raw

    def of_urllib3(self):
        pool = self.kept(pytest.importorskip("urllib3").HTTPConnectionPool("127.0.0.1", self.serve()))
        return self.kept(pool.request("GET", "/", preload_content=False))

    def mapped(self):
        return self.written(self.kept(mmap.mmap(-1, len(CONTENT))))


def upload(file):
    """Return a file as Starlette gives it to a handler."""
    return pytest.importorskip("starlette.datastructures").UploadFile(file)


def spooled(size):
    """Return what makes a SpooledTemporaryFile of so many bytes in memory."""
    return lambda opener: opener.written(opener.kept(tempfile.SpooledTemporaryFile(size)))


AGAIN = {
    "buffered": lambda opener: opener.kept(opener.path.open("rb")),
    "raw": lambda opener: opener.kept(opener.path.open("rb", buffering=0)),
    "BufferedRandom": lambda opener: opener.kept(opener.path.open("r+b")),
    "BytesIO": lambda opener: io.BytesIO(CONTENT),
    "subclass of BytesIO": lambda opener: Subclass(CONTENT),
    "mmap": Opener.mapped,
    "NamedTemporaryFile": lambda opener: opener.written(opener.kept(tempfile.NamedTemporaryFile())),
    "TemporaryFile": lambda opener: opener.written(opener.kept(tempfile.TemporaryFile())),
    "SpooledTemporaryFile in memory": spooled(1 << 30),
    "SpooledTemporaryFile on disk": spooled(1000),
    "gzip": lambda opener: opener.packed(gzip),
    "bz2": lambda opener: opener.packed(bz2),
    "lzma": lambda opener: opener.packed(lzma),
    "stored member of a zip": lambda opener: opener.zipped(zipfile.ZIP_STORED),
    "deflated member of a zip": lambda opener: opener.zipped(zipfile.ZIP_DEFLATED),
    "member of a tar": lambda opener: opener.tarred("w", "r"),
    "member of a tar.gz": lambda opener: opener.tarred("w:gz", "r"),
    "file: of urllib": lambda opener: opener.urlopen(opener.path.as_uri()),
    "upload": lambda opener: upload(opener.kept(opener.path.open("rb"))).file,
    "object with a position": lambda _: Seeking(),
    "gives bytearrays": lambda _: Seeking(bytearray),
    "gives more than asked": lambda _: Seeking(more=1000),
    "gives all at once": lambda _: Seeking(more=1 << 30),
}
"""Those that can be read again and again."""

ONCE = {
    "pipe": Opener.pipe,
    "raw pipe": lambda opener: opener.pipe(buffering=0),
    "fifo": Opener.fifo,
    "socket": Opener.socket,
    "raw socket": lambda opener: opener.socket(buffering=0),
    "child's output": Opener.child,
    "BufferedRWPair": Opener.pair,
    "response": lambda opener: opener.response("/"),
    "chunked response": lambda opener: opener.response("/chunked"),
    "response of urllib": lambda opener: opener.urlopen(f"http://127.0.0.1:{opener.serve()}/"),
    "response of requests": Opener.of_requests,
    "response of urllib3": Opener.of_urllib3,
    "gzip of a pipe": Opener.packed_pipe,
    "gzip of an object with read alone": Opener.packed_reading,
    "member of a tar stream": lambda opener: opener.tarred("w:gz", "r|gz"),
    "object with read alone": lambda _: Reading(),
    "gives memoryviews": lambda _: Reading(memoryview),
    "gives more than asked, once": lambda _: Reading(more=1000),
}
"""Those whose bytes are gone when they were read."""
