"""A small Hugging Face Hub on loopback. It answers all requests that are needed to read a data set.

A function of (method, path) returns the name of the fault to cause, or None:

- a status, such as "503", "429" or "403"
- "reset": the connection is reset; "hang": there is no answer for some seconds
- "truncate": half the bytes of a file, then the connection is closed; "corrupt": the right number of wrong bytes
- "page": a page in HTML with status 200, as from the login of a network
"""

import hashlib
import json
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

HANG = 4.0  # seconds
Fault = Callable[[str, str], str | None]


def no_fault(method: str, path: str) -> str | None:
    return None


@dataclass
class MiniHub:
    """A context manager that serves the `files` of one data set at one commit of the branch main."""

    dataset: str
    commit: str
    files: dict[str, bytes]
    fault: Fault = no_fault
    large: bool = True  # whether files are kept as LFS objects, known by sha256, or as Git blobs
    requests: list[tuple[str, str]] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def entry(self, path: str) -> dict[str, Any]:
        """Return the Hub's description of a file."""
        content = self.files[path]
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": blob}
        if self.large:
            digest = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 130}
        return entry

    def tree(self, folder: str) -> list[dict[str, Any]]:
        """Return the files and folders directly in `folder`."""
        prefix = f"{folder}/" if folder else ""
        inside = [path for path in self.files if path.startswith(prefix)]
        folders = {prefix + path.removeprefix(prefix).split("/")[0] for path in inside if "/" in path[len(prefix) :]}
        files = [self.entry(path) for path in inside if "/" not in path[len(prefix) :]]
        return files + [{"type": "directory", "path": name, "size": 0, "oid": "0" * 40} for name in sorted(folders)]


class _Handler(BaseHTTPRequestHandler):
    hub: MiniHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        if authorization := self.headers.get("Authorization"):
            self.hub.authorizations.append(authorization)
        fault = self.hub.fault(self.command, path)
        if fault and fault.isdecimal():
            self._answer_json(int(fault), {"error": "injected"})
        elif fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
        elif fault == "hang":
            time.sleep(HANG)
            self.close_connection = True
        elif fault == "page":
            self._answer(200, b"<html><body>Please log in</body></html>", Content_Type="text/html")
        elif path.startswith("/api/datasets/"):
            self._api(path.removeprefix("/api/datasets/").split("/"), body.decode())
        elif path.startswith("/datasets/"):
            self._file(path.removeprefix("/datasets/").split("/"), fault)
        else:
            self._answer_json(404, {"error": "not served"})

    do_HEAD = do_POST = do_GET

    def _known(self, parts: list[str], revision: str) -> bool:
        """Return whether repository and revision exist; answer the request with an error if not."""
        if "/".join(parts[:2]) != self.hub.dataset:
            self._answer_json(401, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        elif revision not in ("main", self.hub.commit):
            self._answer_json(404, {"error": f"Invalid rev id: {revision}"}, X_Error_Code="RevisionNotFound")
        else:
            return True
        return False

    def _api(self, parts: list[str], body: str) -> None:
        hub = self.hub
        action, revision, rest = parts[2] if len(parts) > 2 else "", parts[3] if len(parts) > 3 else "main", parts[4:]
        if not self._known(parts, revision):
            return
        if action in ("", "revision"):
            siblings = [{"rfilename": path} for path in hub.files]
            card = {"license": "cc-by-4.0"}
            about = {"id": hub.dataset, "_id": "0", "sha": hub.commit, "private": False, "gated": False}
            self._answer_json(200, {**about, "tags": [], "siblings": siblings, "cardData": card})
        elif action == "tree":
            if entries := hub.tree("/".join(rest)):
                self._answer_json(200, entries)
            else:
                self._answer_json(404, {}, X_Error_Code="EntryNotFound")
        elif action == "paths-info":
            paths = parse_qs(body).get("paths") or json.loads(body)["paths"]
            self._answer_json(200, [hub.entry(path) for path in paths if path in hub.files])
        else:
            self._answer_json(404, {"error": "not served"})

    def _file(self, parts: list[str], fault: str | None) -> None:
        hub, path = self.hub, "/".join(parts[4:])
        if not self._known(parts, parts[3]):
            return
        if path not in hub.files:
            self._answer(404, b"", X_Error_Code="EntryNotFound", X_Repo_Commit=hub.commit)
            return
        content, size = hub.files[path], len(hub.files[path])
        headers = {
            "X_Repo_Commit": hub.commit,
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "Accept_Ranges": "bytes",
        }
        if fault == "corrupt":
            content = bytes(byte ^ 255 for byte in content)
        if fault == "truncate" and self.command == "GET":
            self._answer(200, content[: size // 2], **headers, Content_Length=str(size))
            self.close_connection = True
        elif asked := self.headers.get("Range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, stop = int(first), int(last or size - 1) + 1
            self._answer(206, content[start:stop], **headers, Content_Range=f"bytes {start}-{stop - 1}/{size}")
        else:
            self._answer(200, content, **headers)

    def _answer_json(self, status: int, content: object, /, **headers: str) -> None:
        self._answer(status, json.dumps(content).encode(), Content_Type="application/json", **headers)

    def _answer(self, status: int, body: bytes, /, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
