"""Read the sentences and params in a request of MLflow's scoring protocol, which has four shapes.

A wrong request is refused before MLflow sees it. The message says what to send instead.
"""

import json
from typing import Any

CONTENT_TYPE = "application/json"
SHAPES = ("inputs", "instances", "dataframe_split", "dataframe_records")
EXAMPLE_REQUEST = '{"inputs": ["a sentence"], "params": {"beam_size": 5}}'
MAX_WORK = 100_000_000  # a value of work_of; it takes 10 to 40 s on two cores, and the scoring server gives up after 60


class Refused(Exception):
    """Raised for a wrong request, with the HTTP status and what was wrong."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def read_request(content_type: str, body: bytes, defaults: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Return the sentences and params of a request. The model checks the values of the params."""
    _check_type(content_type)
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:  # not JSON, not Unicode, a number of 5,000 digits, nested too deep
        raise Refused(400, f"the body is not JSON: {error}; expected for example {EXAMPLE_REQUEST}") from None
    shapes = [key for key in request if key in SHAPES] if isinstance(request, dict) else []
    if len(shapes) != 1 or not request.keys() <= {*shapes, "params"}:
        got = f"the keys {sorted(request)!r:.80}" if isinstance(request, dict) else f"a {type(request).__name__}"
        raise Refused(
            400,
            f"the body: got {got}, expected one of {', '.join(SHAPES)} and, if wanted, params, as in {EXAMPLE_REQUEST}",
        )
    (shape,) = shapes
    sentences = _sentences(shape, request[shape])
    params = _params(request.get("params"), defaults)
    work = work_of(sentences, (defaults | params).get("beam_size"))
    if work > MAX_WORK:
        raise Refused(
            413, f"the request may take too long: its work is {work:,}, at most {MAX_WORK:,}; send it in parts"
        )
    return sentences, params


def work_of(sentences: list[str], beam_size: object) -> int:
    """Return an upper bound of the time to translate. Both the steps and the time of a step grow with the length.

    A unit takes half a microsecond, with an untrained model of the default size on one core. The length is in bytes,
    because a piece has at least one byte.
    """
    beam = min(beam_size, 1_000) if isinstance(beam_size, int) else 1
    lengths = [len(sentence.encode(errors="replace")) for sentence in sentences]
    return beam * sum(length * (100 + length) for length in lengths)


def _check_type(content_type: str) -> None:
    kind, *options = (part.strip().lower() for part in content_type.split(";"))
    if kind != CONTENT_TYPE or any(option not in ("", "charset=utf-8", 'charset="utf-8"') for option in options):
        raise Refused(
            415, f"content type: got {content_type!r:.80}, expected {CONTENT_TYPE} in UTF-8, as in {EXAMPLE_REQUEST}"
        )


def _sentences(shape: str, given: Any) -> list[str]:
    if shape == "dataframe_split":
        if not isinstance(given, dict) or "data" not in given:
            raise Refused(400, f"{shape}: got {_kind(given)}, expected an object as in {_split_example()}")
        columns = given.get("columns", [""])
        if not isinstance(columns, list) or len(columns) != 1:
            raise Refused(400, f"{shape}.columns: got {columns!r:.80}, expected one column of texts")
        shape, given = f"{shape}.data", given["data"]
    if not isinstance(given, list):
        raise Refused(400, f"{shape}: got {_kind(given)}, expected a list; each {_expected(shape)}")
    rows = given if shape == "inputs" else [_cell(row) for row in given]
    for place, (row, cell) in enumerate(zip(given, rows, strict=True)):
        if not isinstance(cell, str):
            raise Refused(400, f"{shape}[{place}]: got {_kind(row)}, expected {_expected(shape)}")
    if len({key for row in given if isinstance(row, dict) for key in row}) > 1:
        raise Refused(400, f"{shape}: got rows with different columns, expected one column of texts")
    return rows


def _cell(row: Any) -> Any:
    """Return the only cell of a table's row, or the row itself if it does not have exactly one cell."""
    if isinstance(row, dict) and len(row) == 1:
        return next(iter(row.values()))
    if isinstance(row, list) and len(row) == 1:
        return row[0]
    return row


def _expected(shape: str) -> str:
    return "a text" if shape == "inputs" else "a text, or a row with one text"


def _kind(value: Any) -> str:
    if isinstance(value, list | dict) and value:
        return f"a {type(value).__name__} of {len(value):,}"
    name = type(value).__name__
    return f"{'an' if name == 'int' else 'a'} {name}"


def _split_example() -> str:
    return '{"dataframe_split": {"columns": ["text"], "data": [["a sentence"]]}}'


def _params(given: Any, defaults: dict[str, Any]) -> dict[str, Any]:
    params = {} if given is None else given
    if not isinstance(params, dict):
        raise Refused(400, f"params: got a {type(params).__name__}, expected an object such as {{'beam_size': 5}}")
    for name, value in params.items():
        if name not in defaults:
            raise Refused(400, f"params: got {name!r:.80}, expected one of {', '.join(defaults)}")
        if isinstance(value, list | dict):
            raise Refused(400, f"params.{name}: got a {type(value).__name__}, expected a single value")
    return params
