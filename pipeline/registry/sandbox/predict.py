"""Load a packaged model and answer the requests of a SandboxedModel: python -I -S -B predict.py REQUIREMENTS PACKAGE.

REQUIREMENTS is a directory with the libraries. Nothing of this project is on the path. Each line on standard input is a
request, {"sentences": [...], "params": {...}}. Each line on standard output is an answer: the list of the model's
predictions, or null for a request that the model refuses. The reason for a refusal is on standard error.
"""

import json
import os
import sys
from typing import Any


def main(requirements: str, package: str) -> None:
    # Only answers go to standard output. What libraries print goes to standard error.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.path.insert(0, requirements)
    import mlflow

    def answer(request: dict[str, Any]) -> Any:
        try:
            return model.predict(request["sentences"], params=request["params"])
        except mlflow.exceptions.MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            print(error.message, file=sys.stderr, flush=True)
            return None

    model = mlflow.pyfunc.load_model(package)
    assert "pipeline" not in sys.modules, "the packaged model imported the project instead of its own copy"
    for line in sys.stdin.buffer:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
