"""Settings: an experiment replaces some of those in params.yaml, and every kind of mistake is an error in a line."""

import ast
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.plumbing import params as params_module
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.params import Params, RegisterSettings
from pipeline.plumbing.params_file import files_read, read_params

BASE = "download:\n  source: wheels\n  source_language: en\n  target_language: de\n"


def write(directory: Path, name: str, text: str | bytes) -> Path:
    path = directory / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def complaint(directory: Path, text: str | bytes, overlay: str | None = None) -> str:
    """Return the error for `text` as params.yaml, without the directory."""
    paths = [write(directory, "params.yaml", text)]
    if overlay is not None:
        paths.append(write(directory, "over.yaml", overlay))
    with pytest.raises(UserError) as caught:
        read_params(paths)
    return str(caught.value).replace(f"{directory}/", "")


def test_an_overlay_changes_only_the_keys_that_it_names(tmp_path: Path) -> None:
    base = write(tmp_path, "params.yaml", BASE + "train: {epochs: 7, seed: 3}\nmodel: {cell: gru}\n")
    over = write(tmp_path, "over.yaml", "train:\n  seed: 4\ndownload:\n  source: hub\n  hub: {dataset: a/b}\n")
    params = read_params([base, over])
    assert (params.train.epochs, params.train.seed, params.model.cell) == (7, 4, "gru")
    assert (params.download.source, params.download.hub.dataset) == ("hub", "a/b")


@pytest.mark.parametrize("overlay", ["", "# nothing is different here\n"])
def test_an_overlay_may_be_empty(tmp_path: Path, overlay: str) -> None:
    paths = [write(tmp_path, "params.yaml", BASE), write(tmp_path, "over.yaml", overlay)]
    assert read_params(paths) == read_params(paths[:1])


def test_an_experiment_is_laid_over_those_that_it_extends(tmp_path: Path) -> None:
    base = write(tmp_path, "params.yaml", BASE + "train: {epochs: 7, seed: 3}\n")
    toy = write(tmp_path, "toy.yaml", "train: {epochs: 2}\nmodel: {cell: gru, dropout: 0.0}\n")
    dot = write(tmp_path, "dot.yaml", "extends: toy\nmodel: {attention: dot}\n")
    longer = write(tmp_path, "longer.yaml", "model: {dropout: 0.1}\nextends: dot\n")
    params = read_params([base, longer])
    assert (params.train.epochs, params.train.seed) == (2, 3)
    assert (params.model.cell, params.model.attention, params.model.dropout) == ("gru", "dot", 0.1)
    assert files_read([base, longer]) == [base, toy, dot, longer]


def test_one_experiment_is_laid_over_another(tmp_path: Path) -> None:
    """What it says, and what it extends, counts, even if the experiment below extends the same and changes it."""
    write(tmp_path, "base.yaml", "train: {epochs: 3, patience: 4}\n")
    base = write(tmp_path, "params.yaml", BASE)
    under = write(tmp_path, "under.yaml", "extends: base\ntrain: {seed: 5, epochs: 6, patience: 7}\n")
    over = write(tmp_path, "over.yaml", "extends: base\ntrain: {patience: 8}\n")
    found = read_params([base, under, over]).train
    assert (found.seed, found.epochs, found.patience) == (5, 3, 8)
    assert [path.stem for path in files_read([base, under, over])] == ["params", "under", "base", "over"]


def test_an_experiment_over_one_that_extends_it_is_itself(tmp_path: Path) -> None:
    base = write(tmp_path, "params.yaml", BASE)
    dot = write(tmp_path, "dot.yaml", "model: {attention: dot}\n")
    mine = write(tmp_path, "mine.yaml", "extends: dot\nmodel: {attention: general, cell: gru}\n")
    found = read_params([base, mine, dot]).model
    assert (found.attention, found.cell) == ("dot", "gru")


def test_a_mistake_in_an_extended_experiment_names_its_file(tmp_path: Path) -> None:
    write(tmp_path, "toy.yaml", "train: {epochs: 0, seed: -1}\n")
    told = complaint(tmp_path, BASE, "extends: toy\ntrain: {seed: -2}\n")
    assert told.splitlines() == [
        "over.yaml: train.seed: got -2, expected a whole number >= 0",
        "toy.yaml: train.epochs: got 0, expected a whole number > 0",
    ]


@pytest.mark.parametrize(
    ("overlay", "expected"),
    [
        ("extends: tyo", "over.yaml: extends: tyo.yaml is missing; did you mean toy?"),
        ("extends: zzz", "over.yaml: extends: zzz.yaml is missing; expected one of: again, params, toy"),
        ("extends: over", "over.yaml: extends: over -> over is a circle; remove one of these lines"),
        ("extends: again", "again.yaml: extends: over -> again -> over is a circle; remove one of these"),
        (
            "extends: ../toy",
            "over.yaml: extends: got '../toy', expected the name of one experiment, as in extends: smo",
        ),
        ("extends: [toy]", "over.yaml: extends: got ['toy'], expected the name of one experiment"),
        ("extends: ''", "over.yaml: extends: got '', expected the name of one experiment"),
        ("extends:", "over.yaml: extends: got nothing, expected the name of one experiment"),
        ("extends: 5", "over.yaml: extends: got 5, expected the name of one experiment"),
        (
            "extends: no",
            "over.yaml: extends: got False, expected the name of one experiment, as in extends: smoke (YAML",
        ),
        ("extend: toy", "over.yaml: extend: no such setting; did you mean extends?"),
        ("train: {extends: toy}", "over.yaml: train.extends: no such setting; expected one of: seed"),
        ("extends: toy\nextends: toy", "over.yaml:2: 'extends' is already on line 1; remove one"),
    ],
)
def test_what_extends_no_experiment_is_told(tmp_path: Path, overlay: str, expected: str) -> None:
    write(tmp_path, "toy.yaml", "")
    write(tmp_path, "again.yaml", "extends: over")
    told = complaint(tmp_path, BASE, overlay)
    assert told.startswith(expected)
    assert "\n" not in told


def test_params_yaml_extends_nothing(tmp_path: Path) -> None:
    assert complaint(tmp_path, BASE + "extends: toy\n").startswith("params.yaml: extends: no such setting; ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("learning_rate: 1e-3", "learning_rate: got '1e-3', expected a number > 0 (write 1.0e-3)"),
        ("learning_rate: 1.5e3", "learning_rate: got '1.5e3', expected a number > 0 (write 1.5e+3)"),
        ("learning_rate: 0", "learning_rate: got 0, expected a number > 0"),
        ("learning_rate: .inf", "learning_rate: got inf, expected a number > 0"),
        ("label_smoothing: 1", "label_smoothing: got 1, expected a number >= 0 and < 1"),
        ("epochs: '20'", "epochs: got '20', expected a whole number > 0 (write 20)"),
        ("epochs: 08", "epochs: got '08', expected a whole number > 0 (write 8)"),
        ("epochs: -09", "epochs: got '-09', expected a whole number > 0 (write -9)"),
        ("epochs: 1e3", "epochs: got '1e3', expected a whole number > 0"),
        ("learning_rate: 08e-3", "learning_rate: got '08e-3', expected a number > 0 (write 8.0e-3)"),
        ("epochs: 2.5", "epochs: got 2.5, expected a whole number > 0"),
        ("epochs: many", "epochs: got 'many', expected a whole number > 0"),
        ("epochs: yes", "epochs: got True, expected a whole number > 0"),
        ("epochs:", "epochs: got nothing, expected a whole number > 0"),
        ("epochs: [1, 2]", "epochs: got [1, 2], expected a whole number > 0"),
        ("precision: fp16", "precision: got 'fp16', expected one of auto, bf16, fp32"),
        ("learnin_rate: 1", "learnin_rate: no such setting; did you mean learning_rate?"),
    ],
)
def test_a_wrong_value_is_an_error_with_what_is_expected(tmp_path: Path, text: str, expected: str) -> None:
    assert complaint(tmp_path, f"{BASE}train:\n  {text}\n") == f"params.yaml: train.{expected}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no", "got False, expected text (YAML reads no, off and false as False: put it in quotes)"),
        ("on", "got True, expected text (YAML reads yes, on and true as True: put it in quotes)"),
        ("12", "got 12, expected text (put it in quotes)"),
        ("2024-01-02", "got datetime.date(2024, 1, 2), expected text (put it in quotes)"),
        ("[de]", "got ['de'], expected text"),
    ],
)
def test_a_value_that_yaml_reads_as_another_type_is_explained(tmp_path: Path, text: str, expected: str) -> None:
    base = BASE.replace("target_language: de", f"target_language: {text}")
    assert complaint(tmp_path, base) == f"params.yaml: download.target_language: {expected}"


@pytest.mark.parametrize(
    "name",
    [
        *("train.seed", "train.epochs", "train.warmup_steps", "train.max_skipped_steps", "evaluate.seed"),
        *("evaluate.examples", "download.seed", "download.test_pairs", "encode.max_tokens", "model.hidden_size"),
        "review.gates.leak.threshold",
    ],
)
def test_a_whole_number_of_more_than_64_bits_is_an_error(tmp_path: Path, name: str) -> None:
    *sections, setting = name.split(".")
    required = ", required: true" if setting == "threshold" else ""
    text = f"{{{setting}: {10**26}{required}}}"
    for section in reversed(sections):
        text = f"{{{section}: {text}}}"
    assert complaint(tmp_path, BASE, text).startswith(f"over.yaml: {name}: got {10**26}, expected a whole number of 64")


@pytest.mark.parametrize(("source", "target"), [("en", "en"), ("pt-BR", "PT_br")])
def test_two_equal_language_codes_are_an_error(tmp_path: Path, source: str, target: str) -> None:
    base = BASE.replace("source_language: en", f"source_language: {source}")
    assert complaint(tmp_path, base.replace("target_language: de", f"target_language: {target}")) == (
        f"params.yaml: download: target_language: got {target!r}, the same as source_language; name the difference, "
        f"as in {target}-x-simple"
    )


def test_the_lowest_character_coverage_is_that_of_sentencepiece(tmp_path: Path) -> None:
    assert complaint(tmp_path, BASE + "tokenizer: {character_coverage: 0.97}\n") == (
        "params.yaml: tokenizer.character_coverage: got 0.97, expected a number >= 0.98 and <= 1"
    )


@pytest.mark.parametrize("code", ["german", "en US", "pt–BR", "xx", "de@euro", "zh.UTF-8", "en-", ""])
def test_a_language_code_that_is_not_bcp_47_is_an_error(tmp_path: Path, code: str) -> None:
    told = complaint(tmp_path, BASE.replace("target_language: de", f"target_language: '{code}'"))
    assert told.startswith(f"params.yaml: download.target_language: got {code!r}, expected a language code of BCP 47")
    assert "\n" not in told


@pytest.mark.parametrize("code", ["zh-CN", "zh_Hans", "sr-Cyrl", "pt-BR", "en_XX", "deu_Latn", "qaa", "DE"])
def test_a_language_code_is_kept_as_it_is_written(tmp_path: Path, code: str) -> None:
    base = BASE.replace("target_language: de", f"target_language: {code}")
    assert read_params([write(tmp_path, "params.yaml", base)]).download.target_language == code


def test_an_unknown_cleaning_rule_is_an_error(tmp_path: Path) -> None:
    told = complaint(tmp_path, BASE + "  cleaning: {skip: [scripts]}\n")
    assert told.startswith("params.yaml: download.cleaning.skip.0: got 'scripts', expected one of empty, control_char")
    assert "\n" not in told


def test_the_error_for_an_unknown_setting_lists_all_if_none_is_similar(tmp_path: Path) -> None:
    told = complaint(tmp_path, f"{BASE}encode:\n  zzz: 1\n")
    assert told == "params.yaml: encode.zzz: no such setting; expected one of: max_tokens, shard_pairs, store"
    assert "did you mean tokenizer?" in complaint(tmp_path, f"{BASE}tokeniser: {{}}\n")


def test_all_mistakes_are_reported_at_once_and_each_names_its_file(tmp_path: Path) -> None:
    told = complaint(tmp_path, "download: {source: hub}\ntrain: {epochs: 0, seed: x}\n", "train: {seed: y}\nbogus: 1\n")
    assert [line.partition(": got")[0].partition(": is")[0].partition(": no")[0] for line in told.splitlines()] == [
        "params.yaml: download.source_language",
        "params.yaml: download.target_language",
        "over.yaml: train.seed",
        "params.yaml: train.epochs",
        "over.yaml: bogus",
    ]


def test_a_mistake_in_a_union_is_reported_in_one_line(tmp_path: Path) -> None:
    told = complaint(tmp_path, BASE, "download: {files: {splits: {train: 5}}}")
    assert told.startswith("over.yaml: download.files.splits.train: got 5, expected text or ")
    assert "\n" not in told


def test_an_error_of_several_fields_names_their_section(tmp_path: Path) -> None:
    assert complaint(tmp_path, f"{BASE}model: {{hidden_size: 33}}\n").startswith(
        "params.yaml: model: hidden_size: got 33"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train: {micro_batch_tokens: 3000}", "train: micro_batch_tokens: got 3000, expected at most batch_tokens: 20"),
        ("tokenizer: {vocabulary_size: 260}", "tokenizer.vocabulary_size: got 260, expected a whole number > 260"),
        ("evaluate: {beam_size: 33}", "evaluate.beam_size: got 33, expected a whole number > 0 and <= 32"),
        ("evaluate: {examples: 0}", "evaluate.examples: got 0, expected a whole number > 0"),
        (
            "tokenizer: {vocabulary_size: 2147483648}",
            "tokenizer.vocabulary_size: got 2147483648, expected a whole numb",
        ),
        ("download: {seed: -1}", "download.seed: got -1, expected a whole number >= 0"),
        ("evaluate: {seed: -1}", "evaluate.seed: got -1, expected a whole number >= 0"),
        ("register: {model_name: 'a-{x}'}", "register.model_name: got 'a-{x}', expected only {source_language} and"),
        (
            "download: {cleaning: {min_source_words: 81}}",
            "download.cleaning: min_source_words: got 81, expected at most max_words: 80",
        ),
        ("download: {source: files}", "download.files.splits: got none, expected train"),
        ("download: {source: files, files: {splits: {test: a}}}", "download.files.splits: got test, expected train"),
        ("download: {source: hub}", "download.hub.dataset: got '', expected owner/name of a data set"),
        (
            "download: {files: {splits: {train: a.tsv}}}",
            "download.source: got 'wheels', but download.files.splits is set; write source: files, or remove files.spl",
        ),
        (
            "download: {hub: {dataset: a/b}}",
            "download.source: got 'wheels', but download.hub.dataset is set; write source: hub, or remove hub.dataset",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_an_error(tmp_path: Path, text: str, expected: str) -> None:
    assert complaint(tmp_path, BASE, text).partition(": ")[2].startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train: {}\ntest: 1\ntrain: {}\n", "params.yaml:3: 'train' is already on line 1; remove one"),
        ("train:\n  seed: 1\n  seed: 1\n", "params.yaml:3: 'seed' is already on line 2; remove one"),
        ("no: 1\n", "params.yaml:1: the key 'no' is not text; put it in quotes"),
        ("train:\n\tseed: 1\n", "params.yaml:2: not valid YAML: found character '\\t' that cannot start any token"),
        ("a: {b: 1\n", "params.yaml:2: not valid YAML: expected ',' or '}', but got '<stream end>'"),
        ("a: *b\n", "params.yaml:1: not valid YAML: found undefined alias 'b'"),
        ("? [a]\n: 1\n", "params.yaml:1: not valid YAML: found unhashable key"),
        ("a: !!python/name:os.system\n", "params.yaml:1: not valid YAML: could not determine a constructor"),
        ("a: 1\n---\nb: 1\n", "params.yaml:2: not valid YAML: but found another document"),
        ("a: 2024-13-01\n", "params.yaml: not valid YAML: month must be in 1..12"),
        (f"a: {'9' * 5000}\n", "params.yaml: not valid YAML: Exceeds the limit"),
        ("- train\n", "params.yaml: got ['train'], expected sections, such as `train:` with its settings indented"),
        ("train\n", "params.yaml: got 'train', expected sections, such as `train:` with its settings indented"),
        (b"a: \xff\n", "params.yaml: not valid YAML: "),
        (b"a: \x00\n", "params.yaml: not valid YAML: "),
        ("", "params.yaml: download: is missing, expected settings below it, indented"),
        (BASE + "train: 5\n", "params.yaml: train: got 5, expected settings below it, indented"),
        (BASE + "train: &x {seed: *x}\n", "params.yaml: train.seed: got {'seed': {...}}, expected a whole number >= 0"),
    ],
)
def test_a_file_that_is_not_valid_yaml_is_an_error_with_the_line(
    tmp_path: Path, text: str | bytes, expected: str
) -> None:
    told = complaint(tmp_path, text)
    assert told.startswith(expected)
    assert "\n" not in told


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nope\.yaml is missing"):
        read_params([write(tmp_path, "params.yaml", BASE), tmp_path / "nope.yaml"])


def test_the_projects_own_files_are_valid() -> None:
    root = Path(__file__).parent.parent
    for overlay in (root / "experiments").glob("*.yaml"):
        read_params([root / "params.yaml", overlay])


def test_params_yaml_has_the_default_values() -> None:
    """The corpus alone has no default."""
    project = read_params([Path(__file__).parent.parent / "params.yaml"])
    assert project == Params.model_validate({"download": project.download})


def test_tied_embeddings_need_a_joint_tokenizer(tmp_path: Path) -> None:
    told = complaint(tmp_path, BASE + "tokenizer: {joint: false}\nmodel: {tie_embeddings: all}\n")
    assert told.startswith("params.yaml: model.tie_embeddings: got 'all', which shares")
    read_params([write(tmp_path, "params.yaml", BASE + "tokenizer: {joint: false}\nmodel: {tie_embeddings: target}\n")])


def test_the_settings_contain_no_code_that_computes() -> None:
    """Stamps contain the values of settings, but not params.py. Code in it would change results unnoticed."""
    tree = ast.parse(Path(params_module.__file__).read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.Lambda)]
    assert all(
        "validator" in ast.unparse(node.decorator_list[0]) for node in functions if isinstance(node, ast.FunctionDef)
    )
    assert not any(isinstance(node, ast.Lambda) for node in functions)


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "it's", 3])
def test_a_model_name_that_the_registry_refuses_is_an_error(name: Any) -> None:
    with pytest.raises(ValidationError):
        RegisterSettings(model_name=name)
