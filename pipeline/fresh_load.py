"""Owns the trial of a packaged model where nothing of this project is at hand: run as a script by registry.try_out.

python -I fresh_load.py MODEL_URI REQUEST.json RESPONSE.json
"""

import json
import sys
from pathlib import Path


def main(directory: str, request: str, response: str) -> None:
    import mlflow

    asked = json.loads(Path(request).read_bytes())
    translations = mlflow.pyfunc.load_model(directory).predict(asked["sentences"], params=asked["params"])
    assert "pipeline" not in sys.modules, "the packaged model imported the project instead of its own copy"
    Path(response).write_text(json.dumps(translations), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
