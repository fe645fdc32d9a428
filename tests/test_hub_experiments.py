"""The ready-made experiments of Hub data sets, read from a Hub on the loopback address, in their published layouts."""

import io
import json
from pathlib import Path

import datasets
import pytest
import yaml

from pipeline.plumbing.params import DownloadSettings
from pipeline.plumbing.params_file import read_params
from tests.downloading import ROOT, download
from tests.minihub import MiniHub

COMMIT = "0123456789abcdef0123456789abcdef01234567"
# Experiment -> data set, its configuration where it has several, and split -> its files.
LAYOUTS: dict[str, tuple[str, str, dict[str, list[str]]]] = {
    "multi30k": ("bentrevett/multi30k", "", {"train": ["train"], "validation": ["val"], "test": ["test"]}),
    "opus-books-en-fr": ("Helsinki-NLP/opus_books", "en-fr", {"train": ["train-00000-of-00001"]}),
    **{
        f"opus100-{pair}": (
            "Helsinki-NLP/opus-100",
            config,
            {name: [f"{name}-00000-of-00001"] for name in ("test", "train", "validation")},
        )
        for pair, config in (("en-ko", "en-ko"), ("en-de", "de-en"))
    },
    "wmt14-en-de": (
        "wmt/wmt14",
        "de-en",
        {
            "train": [f"train-{n:05}-of-00003" for n in range(3)],
            "validation": ["validation-00000-of-00001"],
            "test": ["test-00000-of-00001"],
        },
    ),
}
PAIRS = {"train": 6, "validation": 2, "test": 3}  # a file
PATTERNS = {
    "en": ("the {} dog saw {} cats", "old young small big", "two three four five six seven eight nine"),
    "de": ("der {} Hund sah {} Katzen", "alte junge kleine große", "zwei drei vier fünf sechs sieben acht neun"),
    "fr": ("le {} chien a vu {} chats", "vieux jeune petit grand", "deux trois quatre cinq six sept huit neuf"),
    "ko": ("{} 개가 고양이 {} 마리를 보았다", "늙은 어린 작은 큰", "두 세 네 다섯 여섯 일곱 여덟 아홉"),
}


def ready_made() -> dict[str, DownloadSettings]:
    """The experiments of this project that read the Hub."""
    all_of_them = {path.stem: read_params([ROOT / "params.yaml", path]) for path in ROOT.glob("experiments/*.yaml")}
    return {name: params.download for name, params in all_of_them.items() if params.download.source == "hub"}


def published(settings: DownloadSettings, config: str, splits: dict[str, list[str]]) -> dict[str, bytes]:
    """The files of the repository, with files of other configurations, which must not be read."""
    languages = (settings.source_language, settings.target_language)
    texts = [
        {
            code: PATTERNS[code][0].format(PATTERNS[code][1].split()[i], PATTERNS[code][2].split()[j])
            for code in languages
        }
        for i in range(4)
        for j in range(8)
    ]
    files: dict[str, bytes] = {}
    for split, names in splits.items():
        for name in names:
            count = PAIRS[split] if len(splits) > 1 else len(texts)
            rows, texts = texts[:count], texts[count:]
            if config:
                files[f"{config}/{name}.parquet"] = parquet(rows, with_id=settings.hub.dataset.endswith("opus_books"))
            else:
                files[f"{name}.jsonl"] = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if config:
        others = [f"cs-{code}" for code in languages]
        files |= {f"{name}/train-00000-of-00001.parquet": b"of another language" for name in others}
        files["README.md"] = card({config: list(splits), **dict.fromkeys(others, ["train"])})
    return files


def parquet(rows: list[dict[str, str]], with_id: bool) -> bytes:
    """A file with the column `translation`, its languages in alphabetical order, and perhaps a column `id`."""
    columns: dict[str, object] = {"id": [str(n) for n in range(len(rows))]} if with_id else {}
    features = {name: datasets.Value("string") for name in columns}
    features["translation"] = datasets.Translation(sorted(rows[0]))
    file = io.BytesIO()
    made = datasets.Dataset.from_dict({**columns, "translation": rows}, features=datasets.Features(features))
    made.to_parquet(file)
    return file.getvalue()


def card(configs: dict[str, list[str]]) -> bytes:
    entries = [
        {"config_name": name, "data_files": [{"split": split, "path": f"{name}/{split}-*"} for split in splits]}
        for name, splits in configs.items()
    ]
    return f"---\n{yaml.safe_dump({'license': 'unknown', 'configs': entries})}---\n".encode()


def test_each_has_a_layout_here() -> None:
    assert ready_made().keys() == LAYOUTS.keys()


@pytest.mark.parametrize("experiment", LAYOUTS)
def test_an_experiment_reads_its_data_set_as_it_is_published(tmp_path: Path, experiment: str) -> None:
    settings, (dataset, config, splits) = ready_made()[experiment], LAYOUTS[experiment]
    commit = COMMIT if settings.hub.revision == "main" else settings.hub.revision
    with MiniHub(dataset, commit, published(settings, config, splits)) as server:
        environment = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home")}
        result = download(tmp_path, environment, **settings.model_dump(mode="json"))
    assert result.status == 0, result.errors
    sizes = result.facts["splits"]
    if len(splits) > 1:
        assert sizes == {split: PAIRS[split] * len(names) for split, names in splits.items()}
    else:  # its training split is cut, and near-duplicates of what is held out leave it
        assert (sizes["validation"], sizes["test"], sizes["train"] > 0) == (3, 3, True)
    assert {source["revision"] for source in result.facts["sources"]} == {commit}
    assert len(result.facts["sources"]) == sum(map(len, splits.values()))
    assert all({"dog", "saw", "cats"} <= set(source.split()) for source, _ in result.pairs("train"))
    assert not any("dog" in target for _, target in result.pairs("train"))
