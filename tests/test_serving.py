"""MLflow's scoring protocol over a version: right answers, and no request that makes the service fail or hang."""

import json
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from pipeline.seq2seq.translator import Translator
from pipeline.service import serving
from pipeline.service.served_version import ServedVersion
from pipeline.service.serving import MAX_BODY_BYTES, Service
from tests.published import SENTENCES
from tests.test_request import JSON

NAME = "translator-en-de"
TYPE = "application/json"
# Near to what is asked: the right keys with any values, the right values under any keys.
BODIES = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=40).map(lambda text: text.encode(errors="surrogatepass")),
    JSON.map(lambda content: json.dumps(content).encode()),
    st.builds(
        lambda inputs, params, more: json.dumps({"inputs": inputs, "params": params} | more).encode(),
        JSON | st.lists(st.text(st.characters(), max_size=20), max_size=4),
        JSON | st.dictionaries(st.sampled_from(["beam_size", "n_best", "length_penalty", "attention"]), JSON),
        st.just({}) | st.dictionaries(st.sampled_from(["input", "prompt", "dataframe_split", "instances"]), JSON),
    ),
)
TYPES = st.sampled_from([TYPE, f"{TYPE}; charset=utf-8", f"{TYPE};charset=latin-1", f"{TYPE}; x", "text/csv", "", "é"])


@pytest.fixture(scope="module")
def http(package: Path) -> Iterator[TestClient]:
    with TestClient(Service(ServedVersion(NAME, 7, package)), raise_server_exceptions=False) as client:
        yield client


def post(http: TestClient, content: Any, content_type: str = TYPE) -> tuple[int, Any]:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    response = http.post("/invocations", content=body, headers={"content-type": content_type})
    return response.status_code, response.json() if response.headers["content-type"] == TYPE else response.text


def test_translations_are_those_of_the_local_translator(http: TestClient, tiny_model: Path) -> None:
    local = [t.text for t in Translator.load(tiny_model).translate(SENTENCES, 3, 1.0)]
    assert post(http, {"inputs": SENTENCES, "params": {"beam_size": 3}}) == (200, {"predictions": local})
    status, answer = post(http, {"inputs": SENTENCES[:1], "params": {"beam_size": 3, "n_best": 2, "attention": True}})
    assert (status, answer["predictions"][0][0]["text"]) == (200, local[0])
    assert post(http, {"inputs": []}) == (200, {"predictions": []})


@pytest.mark.parametrize(
    "shape",
    [
        {"instances": SENTENCES},
        {"instances": [[text] for text in SENTENCES]},
        {"instances": [{"text": text} for text in SENTENCES]},
        {"dataframe_records": [{"source": text} for text in SENTENCES]},
        {"dataframe_split": {"columns": ["text"], "index": [2, 0, 1], "data": [[text] for text in SENTENCES]}},
        {"dataframe_split": {"data": SENTENCES}},
    ],
    ids=lambda shape: str(shape)[:40],
)
def test_every_shape_of_mlflows_protocol_is_accepted(http: TestClient, tiny_model: Path, shape: dict[str, Any]) -> None:
    local = [t.text for t in Translator.load(tiny_model).translate(SENTENCES, 3, 1.0)]
    assert post(http, shape | {"params": {"beam_size": 3}}) == (200, {"predictions": local})


def test_every_answer_names_model_and_version(http: TestClient) -> None:
    answers = {
        path: http.get(path) for path in ("/", "/health", "/ping", "/version", "/invocations", "/invocation", "/x/../y")
    }
    answers["POST /"] = http.post("/")
    answers["POST bad"] = http.post("/invocations", content=b"x", headers={"content-type": TYPE})
    answers["POST good"] = http.post("/invocations", json={"inputs": ["a"]})
    answers["POST model's refusal"] = http.post(
        "/invocations", content=rb'{"inputs": ["\ud800"]}', headers={"content-type": TYPE}
    )
    for asked, answer in answers.items():
        assert (answer.headers["x-model-name"], answer.headers["x-model-version"]) == (NAME, "7"), asked
    assert [answer.status_code for answer in answers.values()] == [200] * 4 + [405, 404, 404, 405, 400, 200, 400]
    which = {"model": NAME, "version": "7"}
    assert answers["/health"].json() == {"status": "ok"} | which
    assert answers["/version"].json() == which | {"mlflow": mlflow.__version__}
    assert answers["/ping"].text == "\n"
    assert "POST /invocations" in answers["/invocation"].json()["message"]


def test_health_reports_problems_of_the_model(http: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ServedVersion, "problem", "the model raised SystemExit")
    assert http.get("/health").json()["problem"] == "the model raised SystemExit; the server's log says why"


def test_a_websocket_is_closed(http: TestClient) -> None:
    for path in ("/", "/invocations"):
        with pytest.raises(WebSocketDisconnect) as caught, http.websocket_connect(path):
            pass
        assert caught.value.code == 1008


def test_the_command_on_the_home_page_works(http: TestClient) -> None:
    page = http.get("/").text
    assert page.startswith(f"{NAME}, version 7\n")
    *_, address, _, header, _, body = shlex.split(next(line for line in page.splitlines() if "curl" in line))
    name, _, value = header.partition(": ")
    assert http.post(address, content=body, headers={name: value}).status_code == 200


@settings(deadline=5000, max_examples=150)
@given(BODIES, TYPES)
def test_no_request_causes_a_server_error(http: TestClient, body: bytes, content_type: str) -> None:
    """An error of the model's code has status 500 here (see dynamic_batching.py). MLflow itself would answer 400."""
    response = http.post("/invocations", content=body, headers={b"content-type": content_type.encode("latin-1")})
    assert response.status_code in (200, 400, 413, 415), response.text
    assert len(response.content) < 100_000


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b"", 400, "the body is not JSON"),
        (b"\xff\xfe\xfd", 400, "the body is not JSON"),
        (b"[" * 100_000, 400, "the body is not JSON"),
        (b'{"inputs": ' + b"1" * 5000 + b"}", 400, "the body is not JSON"),
        ([], 400, "the body: got a list, expected one of inputs"),
        ({"texts": ["a"]}, 400, "the body: got the keys ['texts'], expected one of inputs, instances, dataframe_split"),
        ({"inputs": ["a"], "instances": ["a"]}, 400, "the body: got the keys ['inputs', 'instances']"),
        ({"params": {}}, 400, "the body: got the keys ['params']"),
        ({"inputs": ["a"], "parms": {}}, 400, "the body: got the keys ['inputs', 'parms']"),
        (
            {"instances": {"text": ["a"]}},
            400,
            "instances: got a dict of 1, expected a list; each a text, or a row with one text",
        ),
        (
            {"instances": ["a", ["b", "c"]]},
            400,
            "instances[1]: got a list of 2, expected a text, or a row with one text",
        ),
        ({"instances": [1]}, 400, "instances[0]: got an int, expected a text, or a row with one text"),
        ({"dataframe_records": [{"a": "x"}, {"b": "y"}]}, 400, "dataframe_records: got rows with different columns"),
        ({"dataframe_records": [{}]}, 400, "dataframe_records[0]: got a dict, expected a text, or a row with one text"),
        ({"dataframe_split": [["a"]]}, 400, "dataframe_split: got a list of 1, expected an object as in"),
        ({"dataframe_split": {"columns": ["text"]}}, 400, "dataframe_split: got a dict of 1, expected an object as in"),
        ({"dataframe_split": {"columns": ["a", "b"], "data": []}}, 400, "dataframe_split.columns: got ['a', 'b']"),
        ({"dataframe_split": {"data": [["a", "b"]]}}, 400, "dataframe_split.data[0]: got a list of 2"),
        ({"inputs": "a"}, 400, "inputs: got a str, expected a list; each a text"),
        ({"inputs": ["a", ["b"]]}, 400, "inputs[1]: got a list of 1, expected a text"),
        ({"inputs": ["a"], "params": [1]}, 400, "params: got a list, expected an object"),
        ({"inputs": ["a"], "params": {"beam": 1}}, 400, "params: got 'beam', expected one of beam_size"),
        ({"inputs": ["a"], "params": {"beam_size": [1]}}, 400, "params.beam_size: got a list"),
        ({"inputs": ["a"], "params": {"beam_size": 33}}, 400, "beam_size: got 33, expected a whole number"),
        ({"inputs": ["a", "\ud800"]}, 400, "sentences[1]: got '\\ud800'"),
        ({"inputs": ["word " * 400] * 20}, 413, "the request may take too long"),
        ({"inputs": ["a"] * 9000, "params": {"beam_size": 10**4000}}, 413, "the request may take too long"),
        (b" " * (MAX_BODY_BYTES + 1), 413, "the body: got 1,048,577 bytes, expected at most 1,048,576"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_wrong_request_is_refused_in_one_line(http: TestClient, content: Any, status: int, said: str) -> None:
    found, answer = post(http, content)
    assert (found, answer["message"].startswith(said)) == (status, True), answer
    assert len(answer["message"]) < 300


def test_other_types_of_content_are_refused(http: TestClient) -> None:
    body = b'{"inputs": ["a"]}'
    for content_type in ("text/csv", "application/vnd.apache.parquet", "", "application/json; charset=latin-1"):
        status, answer = post(http, body, content_type)
        assert (status, "expected application/json" in answer["message"]) == (415, True)
    assert post(http, body, 'Application/JSON;charset="UTF-8"')[0] == 200
    assert http.post("/invocations", content=body).status_code == 415


def test_too_many_open_requests_are_refused(http: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "MAX_OPEN_REQUESTS", 0)
    assert post(http, {"inputs": SENTENCES})[0] == 429


def test_each_of_many_clients_gets_its_own_answer(http: TestClient, tiny_model: Path) -> None:
    words = ["open", "close", "save", "delete", "file", "window", "image", "`x`", "<b>", "|"]
    sentences = [f"{first} {second}" for first in words for second in words]
    local = {t: [h.text] for t, h in zip(sentences, Translator.load(tiny_model).translate(sentences, 2), strict=True)}
    assert len({text for (text,) in local.values()}) > 20
    with ThreadPoolExecutor(32) as clients:
        asked = [clients.submit(post, http, {"inputs": [sentence]}) for sentence in sentences]
        bad = [clients.submit(post, http, {"inputs": ["\ud800"]}) for _ in range(10)]
    assert [future.result() for future in asked] == [(200, {"predictions": local[s]}) for s in sentences]
    assert {future.result()[0] for future in bad} == {400}
