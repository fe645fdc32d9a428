"""What the commands on the registry share: PARAMS_FILE... as arguments, what was asked for in the environment.

Make exports VERSION, REASON, FORCE and ALIAS as they were typed.
"""

import os
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient

from pipeline.plumbing.errors import UserError
from pipeline.plumbing.params import Params
from pipeline.plumbing.params_file import read_params
from pipeline.plumbing.tracking.record import user_name
from pipeline.plumbing.tracking.store import open_store
from pipeline.registry.versions import registered_name
from pipeline.reviews.promotion import Promotion
from pipeline.reviews.registered_models import RegisteredModels
from pipeline.reviews.review_runs import ReviewRuns

BUILD = Path("build")
LONGEST_REASON = 500  # characters


@dataclass(frozen=True)
class Registry:
    """Where an experiment's versions are reviewed and promoted."""

    params: Params
    models: RegisteredModels

    @property
    def client(self) -> MlflowClient:
        return self.models.client

    @property
    def production(self) -> str:
        return self.models.production

    @property
    def review_runs(self) -> ReviewRuns:
        return ReviewRuns(self.client, self.production, BUILD)

    def decision(self, reason: str, forced: bool) -> Promotion:
        """Return what decides for somebody, with their reason."""
        return Promotion(self.models, self.params.review, self.review_runs, user_name(), reason, forced)


def open_registry(uri: str = "") -> Registry:
    """Return the registry of the experiment whose params files are the arguments; `uri` as for open_store."""
    files = [Path(argument) for argument in sys.argv[1:]]
    params = read_params(files)
    languages = params.download.source_language, params.download.target_language
    candidates = registered_name(params.registration.model_name, *languages)
    production = registered_name(params.review.production_model or params.registration.model_name, *languages)
    return Registry(params, RegisteredModels(open_store(BUILD, uri), candidates, production, asked_experiment()))


def asked_experiment() -> str:
    """The experiment whose params files are the arguments."""
    overlay = sys.argv[2:]
    return Path(overlay[-1]).stem if overlay else "default"


def asked_version() -> int | None:
    """$VERSION; None where it is not set."""
    text = os.environ.get("VERSION", "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) > 0):  # databases have 32 bits for it
        raise UserError(f"VERSION: got {text!r}, expected the number of a version, as in: VERSION=3")
    return int(text)


def asked_reason() -> str:
    """$REASON, one line."""
    text = " ".join(os.environ.get("REASON", "").split())
    if not text:
        raise UserError(
            'REASON is missing: say why, for those who read the record, as in: REASON="better on long texts"'
        )
    if control := [c for c in text if unicodedata.category(c) in ("Cc", "Cs")]:
        raise UserError(f"REASON: got {control[0]!r}, which no one can read, expected text")
    if len(text) > LONGEST_REASON:
        raise UserError(f"REASON: got {len(text)} characters, expected at most {LONGEST_REASON}")
    return text


def is_forced() -> bool:
    """$FORCE: 1, or nothing."""
    text = os.environ.get("FORCE", "")
    if text not in ("", "0", "1"):
        raise UserError(f"FORCE: got {text!r}, expected 1 to override what speaks against it, or nothing")
    return text == "1"
