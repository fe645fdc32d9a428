"""Translate simultaneous requests together. Waiting requests with the same params share one call of the model.

On a CPU, many threads that each decode one sentence are slower than one thread that decodes all of them.
"""

import json
import logging
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
from threading import Condition, Thread
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, RESOURCE_EXHAUSTED, ErrorCode
from mlflow.pyfunc import PyFuncModel

BATCH_CHARACTERS = 8_000  # in one call, which are a few batches with beam 5; a longer request is translated alone


@dataclass(frozen=True, eq=False)
class _Request:
    sentences: list[str]
    params: dict[str, Any]
    answer: Future[list[Any]] = field(default_factory=Future)

    @property
    def kind(self) -> str:
        """Return a text that is equal for requests that may share a call. It tells apart 1, 1.0 and True."""
        return json.dumps(self.params, sort_keys=True)

    @property
    def characters(self) -> int:
        return sum(map(len, self.sentences))


class BatchedModel:
    """A loaded model for MLflow's scoring server, which batches the calls of `predict` from all threads.

    `predict` waits for at most `timeout` seconds. `close` waits for the running call.
    """

    def __init__(self, model: PyFuncModel, timeout: float) -> None:
        self.metadata = model.metadata
        self._model, self._timeout = model, timeout
        self._waiting: deque[_Request] = deque()
        self._changed, self._closed = Condition(), False
        self._problem = ""  # what is wrong with the model, in few words
        self._worker = Thread(target=self._work, name="translate", daemon=True)
        self._worker.start()

    @property
    def problem(self) -> str:
        """Return a short description of the model's problem. Without a problem the text is empty."""
        has_died = not (self._worker.is_alive() or self._closed)
        return "the translating thread has ended" if has_died else self._problem

    def predict(self, data: list[str], params: dict[str, Any] | None = None) -> list[Any]:
        request = _Request(data, params or {})
        with self._changed:
            if self._closed:
                raise _stopping()
            self._waiting.append(request)
            self._changed.notify()
        try:
            return request.answer.result(self._timeout)
        except TimeoutError:
            request.answer.cancel()
            raise MlflowException(
                f"no answer within {self._timeout:g} s: try again later, or send less at once",
                error_code=RESOURCE_EXHAUSTED,
            ) from None
        except MlflowException as error:
            raise _Refusal(error.message, ErrorCode.Value(error.error_code)) from None
        except Exception:
            logging.getLogger(__name__).exception("a translation failed")
            raise _Refusal("the model failed; the server's log says why", INTERNAL_ERROR) from None

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._worker.join()

    def _work(self) -> None:
        while requests := self._next():
            self._translate([r for r in requests if r.answer.set_running_or_notify_cancel()])

    def _next(self) -> list[_Request]:
        """Return the oldest request, and as many others with the same params as fit. Return none after `close`."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                for request in self._waiting:
                    if request.answer.set_running_or_notify_cancel():
                        request.answer.set_exception(_stopping())
                return []
            batch = list(_fitting(self._waiting))
            for request in batch:
                self._waiting.remove(request)
            return batch

    def _translate(self, requests: list[_Request]) -> None:
        """Translate the requests in one call. If it fails, try each half, so that only the faulty request fails."""
        if not requests:
            return
        try:
            sentences = [sentence for request in requests for sentence in request.sentences]
            found: Iterator[Any] = iter(self._model.predict(sentences, params=requests[0].params))
            answers = [list(islice(found, len(request.sentences))) for request in requests]
        except BaseException as error:  # even SystemExit: the model's code is not trusted
            if len(requests) == 1:
                if not isinstance(error, Exception):
                    self._problem = f"the model raised {type(error).__name__}"
                    logging.getLogger(__name__).error("%s: %r", self._problem, error)
                    error = RuntimeError(self._problem)
                requests[0].answer.set_exception(error)
                return
            self._translate(requests[: len(requests) // 2])
            self._translate(requests[len(requests) // 2 :])
        else:
            for request, answer in zip(requests, answers, strict=True):
                request.answer.set_result(answer)


def _fitting(waiting: Iterable[_Request]) -> Iterator[_Request]:
    first, *others = waiting
    yield first
    room = BATCH_CHARACTERS - first.characters
    for other in others:
        if other.kind == first.kind and other.characters <= room:
            room -= other.characters
            yield other


def _stopping() -> MlflowException:
    return MlflowException("the server is being stopped", error_code=RESOURCE_EXHAUSTED)


class _Refusal(MlflowException):
    """An error with a fixed message. Otherwise the scoring server would prepend the whole request to it."""

    @property
    def message(self) -> str:
        return str(self.args[0]) if self.args else ""

    @message.setter
    def message(self, text: str) -> None:
        pass
