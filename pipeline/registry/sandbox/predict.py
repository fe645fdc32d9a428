"""Answer the requests of a SandboxedModel: load a packaged model where nothing of this project is at hand, and predict.

python -I -S -B predict.py DIRECTORY_OF_REQUIREMENTS PACKAGE, then a request a line on standard input and an answer a
line on standard output: {"sentences": [...], "params": {...}} -> [...], the model's predictions, or null where it
refuses the request; then it says why on standard error.
"""

import json
import os
import sys
from typing import Any


def main(requirements: str, package: str) -> None:
    # Answers have standard output for themselves; what libraries print goes where errors go.
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
