"""Measure the speed of `make serve` for 32 clients that request one sentence after another.

`make bench-serving` starts a real server on loopback with the version that has the alias ALIAS. The clients request
translations of the experiment's test sets for DURATION seconds. The clients are threads of this process, so they use
some of the time of the same processors.
"""

import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path

import pyarrow.parquet as pq

from pipeline.data.facts import CorpusFacts
from pipeline.plumbing.artifacts import open_artifact
from pipeline.plumbing.command import fail_clearly
from pipeline.plumbing.errors import UserError
from tests.mlflow_server import unused_port

CLIENTS = 32
WARM_UP = 2.0  # seconds that are not measured


def main() -> None:
    build, *params = sys.argv[1:]
    duration = float(os.environ.get("DURATION", "60"))
    sentences = read_sentences(Path(build))
    port = unused_port()
    command = [sys.executable, "-m", "stages.serve", *params]
    environment = os.environ | {"PORT": str(port), "HOST": "127.0.0.1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        if line := server.stdout.readline():
            print(line.strip())
            report(*ask_all(port, sentences, duration), duration)
            server.send_signal(signal.SIGTERM)
        server.communicate()
    if server.returncode:
        raise UserError(f"the server ended with status {server.returncode}")


def read_sentences(build: Path) -> list[str]:
    corpus = open_artifact(build / "corpus", "download")
    names = list(CorpusFacts.of(corpus).test_sets)
    return [text for name in names for text in pq.read_table(corpus.path(f"{name}.parquet"))["source"].to_pylist()]


def ask_all(port: int, sentences: list[str], duration: float) -> tuple[list[float], list[str]]:
    """Return the seconds that each good answer took, and the errors."""
    start = time.monotonic() + WARM_UP

    def ask(client: int) -> tuple[list[float], list[str]]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        seconds: list[float] = []
        errors: list[str] = []
        for sentence in cycle(sentences[client:] + sentences[:client]):
            if (begin := time.monotonic()) >= start + duration:
                break
            try:
                body = json.dumps({"inputs": [sentence]})
                connection.request("POST", "/invocations", body, {"content-type": "application/json"})
                response = connection.getresponse()
                answer = response.read()
                if response.status != 200 or len(json.loads(answer)["predictions"]) != 1:
                    errors.append(f"{response.status} {answer[:200]!r}")
            except (OSError, http.client.HTTPException) as error:
                errors.append(repr(error))
                connection.close()
            if begin >= start:
                seconds.append(time.monotonic() - begin)
        return seconds, errors

    with ThreadPoolExecutor(CLIENTS) as clients:
        results = list(clients.map(ask, range(CLIENTS)))
    return [s for seconds, _ in results for s in seconds], [e for _, errors in results for e in errors]


def report(seconds: list[float], errors: list[str], duration: float) -> None:
    percentiles = statistics.quantiles(seconds, n=100)
    print(f"{len(seconds)} requests of {CLIENTS} clients in {duration:g} s, {len(errors)} errors")
    print(f"p50 {percentiles[49] * 1000:,.0f} ms, p99 {percentiles[98] * 1000:,.0f} ms, most {max(seconds):.2f} s")
    print(f"{len(seconds) / duration:,.1f} sentences/s")
    for error in islice(sorted(set(errors)), 5):
        print(f"error: {error}")


if __name__ == "__main__":
    fail_clearly(main)
