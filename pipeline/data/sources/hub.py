"""Read data sets of the Hugging Face Hub, pinned to a commit and verified by digests. tables.py reads a single file.

`datasets.load_dataset` does neither. If the Hub cannot be reached, it uses any revision in the cache, and it compares
no checksums (huggingface/datasets#7928). So `datasets` only tells which files make up the splits, and which options the
card has for reading them. The files are downloaded by commit, compared with the Hub's digests, and read as local files.
No token is sent, so only public data sets can be read.
"""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import datasets
import httpx2
from huggingface_hub import HfApi, RepoFile, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils.logging import set_verbosity_error

from ...plumbing.artifacts import sha256_of
from ...plumbing.errors import UserError
from ...plumbing.params import HubSettings
from ...plumbing.split_names import MEANT, check_names, meant_split
from . import RawCorpus, with_origin
from .tables import read_pairs

set_verbosity_error()  # type: ignore[no-untyped-call]  # instead of two lines for each of its own tries
TRIES = 4  # of a request that fails for a temporary reason; the waits between them are 1, 2 and 4 seconds

Answer = TypeVar("Answer")


def read_hub(
    settings: HubSettings, languages: tuple[str, str], cache: Path, report: Callable[[str], None]
) -> RawCorpus:
    """Download every split of the data set, all at the same commit. Its pairs are read when they are asked for."""
    api = HfApi(token=False)
    info = _attempt(settings, lambda: api.dataset_info(settings.dataset, revision=settings.revision))
    commit, licence = str(info.sha), str(getattr(info.card_data, "license", None) or "not stated")
    report(f"{settings.dataset} at commit {commit} ({licence})")
    raw = RawCorpus()
    files, options = _attempt(settings, lambda: _ask_card(settings, commit))
    splits = chosen_splits(files, report)
    try:
        check_names(splits, known=MEANT)
    except ValueError as error:
        raise UserError(
            f"download.hub: {settings.dataset}: its splits: {error}; to rename them, download the files and set "
            "download.files.splits to them"
        ) from None
    for split, paths in splits.items():
        parts = []
        for path in paths:
            file = _attempt(settings, _downloader(api, settings.dataset, commit, path, cache))
            name, digest = f"{settings.dataset}/{path}", sha256_of(file)
            origin = raw.add_origin({"name": name, "revision": commit, "licence": licence, "sha256": digest})
            parts.append(with_origin(read_pairs(file, languages, options), origin))
            report(f"{path}: {file.stat().st_size:,} bytes")
        raw.splits[split] = chain.from_iterable(parts)
    return raw


def chosen_splits(files: dict[str, list[str]], report: Callable[[str], None]) -> dict[str, list[str]]:
    """Return the splits that are used: train, validation and test sets. `report` gets a line for each other split.

    A validation split with another name, such as `dev`, is renamed. Otherwise it would become a test set.
    """
    chosen = {name: paths for name, paths in files.items() if name in MEANT or not meant_split(name)}
    for name in [name for name in files if name not in chosen]:
        meant = next((split for split, words in MEANT.items() if name.casefold() in words), None)
        if meant and meant not in chosen and meant not in files:
            report(f"split {name} is used as {meant}")
            chosen[meant] = files[name]
        else:
            report(f"split {name} is left out: its name is not that of a test set, and training does not use it")
    return chosen


def _ask_card(settings: HubSettings, commit: str) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """Return the files of each split, as paths in the repository, and the card's options for reading them.

    The cache is an empty directory, so that no older revision can be used.
    """
    with tempfile.TemporaryDirectory() as empty:
        try:
            builder = datasets.load_dataset_builder(
                settings.dataset, settings.config, revision=commit, token=False, cache_dir=empty
            )
        except (ValueError, RuntimeError, datasets.exceptions.DatasetNotFoundError) as error:
            reason = _first_line(error)
            raise UserError(f"download.hub: {settings.dataset}, config {settings.config}: {reason}") from None
    prefix = f"hf://datasets/{settings.dataset}@{commit}/"
    files: dict[str, list[str]] = builder.config.data_files
    splits = {str(split): [url.removeprefix(prefix) for url in urls] for split, urls in files.items()}
    usual, base = type(builder.config)(), {field.name for field in fields(datasets.BuilderConfig)}
    said = {f.name: getattr(builder.config, f.name) for f in fields(builder.config) if f.name not in base}
    return splits, {name: value for name, value in said.items() if value != getattr(usual, name)}


def _downloader(api: HfApi, dataset: str, commit: str, path: str, cache: Path) -> Callable[[], Path]:
    """Return a function that downloads one file into `cache` and compares it with the Hub's digest."""

    def download() -> Path:
        (expected,) = api.get_paths_info(dataset, path, repo_type="dataset", revision=commit)
        assert isinstance(expected, RepoFile)
        file = Path(
            hf_hub_download(dataset, path, repo_type="dataset", revision=commit, token=False, cache_dir=str(cache))
        )
        if not _is_intact(file, expected):
            os.unlink(
                os.path.realpath(file)
            )  # `file` links to it; if it stayed in the cache, it would never be downloaded again
            file.unlink(missing_ok=True)
            raise ConnectionError(f"the downloaded {path} does not have the digest that the Hub has for it")
        return file

    return download


def _is_intact(file: Path, expected: RepoFile) -> bool:
    """Return whether a file has the Hub's digest: the sha256 of a large file, the Git blob id of a small one."""
    if expected.lfs is not None:
        return sha256_of(file) == expected.lfs.sha256
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == expected.blob_id


def _attempt(settings: HubSettings, request: Callable[[], Answer]) -> Answer:
    """Return the result of a request. Repeat it after a temporary failure. Raise UserError if it cannot succeed."""
    wanted = f"download.hub: {settings.dataset}"
    for pause in [2.0**n for n in range(TRIES - 1)] + [None]:
        try:
            return request()
        except RevisionNotFoundError:
            raise UserError(
                f"{wanted} has no revision {settings.revision!r}; use a branch, or a commit of 40 hexadecimal digits"
            ) from None
        except RepositoryNotFoundError:
            raise UserError(
                f"{wanted} does not exist on the Hub, or is not public; check download.hub.dataset (owner/name)"
            ) from None
        except (HfHubHTTPError, httpx2.TransportError, OSError, json.JSONDecodeError, KeyError) as error:
            reason = _first_line(error)
            if isinstance(error, json.JSONDecodeError | KeyError):  # from a network's login page, for example
                reason = f"the answer is not that of a Hub ({reason})"
            if pause is None or (isinstance(error, HfHubHTTPError) and not _is_temporary(error)):
                raise UserError(
                    f"{wanted}: the Hub could not be read: {reason}; check the network and HF_ENDPOINT, then run the "
                    "same command again"
                ) from None
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def _is_temporary(error: HfHubHTTPError) -> bool:
    return error.response.status_code == 429 or error.response.status_code >= 500


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).partition("\n")[0]
