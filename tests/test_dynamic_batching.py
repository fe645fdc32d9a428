"""Simultaneous requests for one model share a call if their params are equal; each gets its own answer or error."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from pipeline.service.dynamic_batching import BATCH_CHARACTERS, BatchedModel


class Model:
    """Returns the sentences in capitals. Each call waits until the test lets the model continue."""

    metadata = None

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], dict[str, Any]]] = []
        self.free = Event()

    def predict(self, sentences: list[str], params: dict[str, Any]) -> list[str]:
        self.calls.append((sentences, params))
        assert self.free.wait(20)
        if "wrong" in sentences:
            raise MlflowException.invalid_parameter_value("a wrong sentence")
        if "exit" in sentences:
            raise SystemExit(0)
        if "broken" in sentences:
            raise RuntimeError("secret")
        return [sentence.upper() for sentence in sentences]


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def joined(model: Model) -> Iterator[BatchedModel]:
    joined = BatchedModel(model, timeout=20)  # type: ignore[arg-type]
    yield joined
    model.free.set()
    joined.close()


def ask(joined: BatchedModel, model: Model, requests: list[tuple[list[str], dict[str, Any]]]) -> list[Any]:
    """Answers or errors of requests that come while the model is busy with another one."""

    def one(request: tuple[list[str], dict[str, Any]]) -> Any:
        try:
            return joined.predict(*request)
        except MlflowException as error:
            return error

    with ThreadPoolExecutor(len(requests) + 1) as clients:
        clients.submit(joined.predict, ["first"])
        while not model.calls:
            time.sleep(0.01)
        answers = []
        for count, request in enumerate(requests, start=1):
            answers.append(clients.submit(one, request))
            while len(joined._waiting) < count:
                time.sleep(0.001)
        model.free.set()
        return [answer.result(20) for answer in answers]


def test_waiting_requests_are_translated_in_one_call(joined: BatchedModel, model: Model) -> None:
    requests: list[tuple[list[str], dict[str, Any]]] = [([f"a{n}", f"b{n}"][: n % 3], {}) for n in range(20)]
    assert ask(joined, model, requests) == [[s.upper() for s in sentences] for sentences, _ in requests]
    assert len(model.calls) == 2


def test_only_requests_with_the_same_params_share_a_call(joined: BatchedModel, model: Model) -> None:
    values: list[dict[str, Any]] = [{"beam_size": 1}, {"beam_size": True}, {"beam_size": 1.0}, {}, {"beam_size": 1}]
    ask(joined, model, [(["x"], params) for params in values])
    sizes = [(len(sentences), repr(params)) for sentences, params in model.calls[1:]]
    assert sizes == [(2, "{'beam_size': 1}"), (1, "{'beam_size': True}"), (1, "{'beam_size': 1.0}"), (1, "{}")]


def test_a_large_request_is_translated_alone(joined: BatchedModel, model: Model) -> None:
    ask(joined, model, [(["x" * BATCH_CHARACTERS], {}), (["y"], {}), (["z"], {})])
    assert [len(sentences) for sentences, _ in model.calls] == [1, 1, 2]


def test_an_error_reaches_only_the_request_that_caused_it(joined: BatchedModel, model: Model) -> None:
    texts = ["a", "b", "wrong", "c", "broken", "d"]
    answers = ask(joined, model, [([text], {}) for text in texts])
    assert [a for a in answers if isinstance(a, list)] == [["A"], ["B"], ["C"], ["D"]]
    wrong, broken = answers[2], answers[4]
    assert (wrong.message, wrong.error_code) == ("a wrong sentence", "INVALID_PARAMETER_VALUE")
    assert (broken.error_code, "secret" in broken.message) == ("INTERNAL_ERROR", False)
    wrong.message = "Failed to predict data ..."
    assert wrong.message == "a wrong sentence"


def test_a_model_that_calls_exit_does_not_end_the_service(joined: BatchedModel, model: Model) -> None:
    first, exits, last = ask(joined, model, [([text], {}) for text in ("a", "exit", "b")])
    assert (first, exits.error_code, last) == (["A"], "INTERNAL_ERROR", ["B"])
    assert joined.predict(["c"]) == ["C"]
    assert joined.problem == "the model raised SystemExit"
    joined._closed = True
    with joined._changed:
        joined._changed.notify()
    joined._worker.join()
    joined._closed = False
    assert joined.problem == "the translating thread has ended"


def test_a_request_that_waited_too_long_is_answered_and_not_translated(model: Model) -> None:
    joined = BatchedModel(model, timeout=0.2)  # type: ignore[arg-type]
    with ThreadPoolExecutor(2) as clients:
        answers = [clients.submit(joined.predict, [text]) for text in "ab"]
        for answer in answers:
            with pytest.raises(MlflowException, match="no answer within 0.2 s") as caught:
                answer.result(20)
            assert caught.value.error_code == "RESOURCE_EXHAUSTED"
        model.free.set()
        joined.close()
        with pytest.raises(MlflowException, match="is being stopped"):
            joined.predict(["c"])
    assert not joined._worker.is_alive()
    assert len(model.calls) == 1


def test_close_answers_the_waiting_requests(joined: BatchedModel, model: Model) -> None:
    with ThreadPoolExecutor(3) as clients:
        first = clients.submit(joined.predict, ["first"])
        while not model.calls:
            time.sleep(0.01)
        second = clients.submit(joined.predict, ["second"])
        while not joined._waiting:
            time.sleep(0.01)
        closing = clients.submit(joined.close)
        while not joined._closed:
            time.sleep(0.01)
        model.free.set()
        closing.result(20)
        assert first.result(20) == ["FIRST"]
        with pytest.raises(MlflowException, match="is being stopped"):
            second.result(20)
    with pytest.raises(MlflowException, match="is being stopped"):
        joined.predict(["third"])
