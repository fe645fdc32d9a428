"""Translation with a glossary: terms that are found in a sentence, and terms in its translation."""

import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch

from pipeline.plumbing.errors import UserError
from pipeline.seq2seq.inference import Inference
from pipeline.seq2seq.search import search
from pipeline.seq2seq.terms import Glossary, Term, _search, terms_in, translate_with_terms
from pipeline.seq2seq.translator import Translator
from stages.translate import with_terms
from tests.project import ROOT
from tests.test_export import PAIRS, SIMPLE, publish_model

SENTENCES = [source for source, _ in PAIRS[:20]]


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Translator:
    return Translator.load(publish_model(tmp_path_factory.mktemp("terms") / "model", **SIMPLE).directory)


def glossary(tmp_path: Path, text: str) -> Glossary:
    (tmp_path / "terms.tsv").write_text(text, encoding="utf-8")
    return Glossary.load(tmp_path / "terms.tsv")


def test_terms_are_found_as_whole_words_longer_ones_first_in_any_case(tmp_path: Path) -> None:
    terms = glossary(tmp_path, "\ufefffile\tDatei\r\n\n file  system\tDateisystem\nC++\tC++\nà\tzu\n")
    text = "File, profile; the file system of C++, à la files"
    found = [(text[begin:end], target) for begin, end, target in terms.find(text)]
    assert found == [("File", "Datei"), ("file system", "Dateisystem"), ("C++", "C++"), ("à", "zu")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"file Datei\n", r"terms.tsv, line 1: got 'file Datei', expected source term, tab, target term"),
        (b"a\tb\nfile\t\n", r"line 2: got 'file\\t', expected"),
        (b"a\tb\tc\n", r"line 1: got 'a\\tb\\tc', expected"),
        (b"file\tDatei\nFile\tAkte\n", "line 2: 'File' has another target term above; keep one"),
        (b"\xff\tb\n", "could not be read as text in UTF-8"),
        (b"\n", "has no terms; expected lines of source term, tab, target term"),
    ],
)
def test_a_glossary_that_is_none_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "terms.tsv").write_bytes(content)
    with pytest.raises(UserError, match=f"^TERMS: .*{message}"):
        Glossary.load(tmp_path / "terms.tsv")
    with pytest.raises(UserError, match="^TERMS: .* could not be read"):
        Glossary.load(tmp_path)
    with pytest.raises(UserError, match="^TERMS: there is no file .*none.tsv; type the path"):
        Glossary.load(tmp_path / "none.tsv")


def test_a_sentence_without_a_term_is_translated_as_ever(translator: Translator, tmp_path: Path) -> None:
    terms = glossary(tmp_path, "nothing\tlike it\n")
    expected = [translation.text for translation in translator.translate(SENTENCES)]
    assert [translate_with_terms(translator, terms, sentence) for sentence in SENTENCES] == expected
    assert translate_with_terms(translator, terms, " \t") == ""


def test_without_terms_the_search_is_beam_search(translator: Translator) -> None:
    model = deepcopy(translator.model).double()
    for source in translator.tokenizer.encode_source(SENTENCES):
        lengths = torch.tensor([len(source)])
        limits = [2 * len(source) + 10]
        (found,) = search(Inference(model), torch.tensor([source]), lengths, 4, 0.7, limits, 1)
        assert _search(model, source, (), 4, 0.7) == found[0].ids


def test_a_term_stands_whole_where_attention_reads_its_source(translator: Translator) -> None:
    """A target term begins in a step that attends most to its source term. If there is no such step, it is left out."""
    model, ids = translator.model, (300, 301, 302)
    obeyed = 0
    for source in translator.tokenizer.encode_source(SENTENCES[:3]):
        for position in range(len(source)):
            found = _search(model, source, (Term(ids, frozenset([position])),), 4, 1.0)
            begins = [i for i in range(len(found)) if tuple(found[i : i + 3]) == ids]
            obeyed += bool(begins)
            encoder_output = model.encode(torch.tensor([source]), torch.tensor([len(source)]))
            inputs = torch.tensor([[2, *found[:-1]]])
            _, weights, _ = model.decode(inputs, encoder_output, model.decoder.initial_state(encoder_output))
            attended = weights[0].argmax(dim=-1).tolist()
            assert not begins or any(attended[i] == position for i in begins)
    assert obeyed > 5


def test_the_term_of_the_glossary_stands_in_the_text(translator: Translator, tmp_path: Path) -> None:
    words = {word.strip(".,").lower() for sentence in SENTENCES for word in sentence.split()}
    terms = glossary(tmp_path, "".join(f"{word}\tmila kavo\n" for word in words))
    texts = [translate_with_terms(translator, terms, sentence) for sentence in SENTENCES]
    plain = [translation.text for translation in translator.translate(SENTENCES)]
    assert sum("mila kavo" in text for text in plain) == 0
    assert sum("mila kavo" in text for text in texts) > len(texts) / 2


def test_a_term_is_at_the_tokens_of_its_source(translator: Translator, tmp_path: Path) -> None:
    tokenizer, text = translator.tokenizer, "Größe 🙂 gornet, tha vost gornet."
    terms = terms_in(text, glossary(tmp_path, "gornet\tmila\nvost gornet\tmila bola\n"), tokenizer)
    assert [tokenizer.decode_target([list(term.ids)]) for term in terms] == [["mila"], ["mila bola"]]
    pieces = tokenizer.source_pieces(tokenizer.encode_source([text])[0])
    sources = ["".join(pieces[i] for i in sorted(term.positions)) for term in terms]
    assert sources == ["\u2581gornet", "\u2581vost\u2581gornet"]


def test_a_model_without_attention_has_no_place_for_a_term(tmp_path: Path) -> None:
    model = publish_model(tmp_path / "model", **SIMPLE | {"attention": "none"})
    with pytest.raises(UserError, match="^TERMS: got a model without attention"):
        translate_with_terms(Translator.load(model.directory), glossary(tmp_path, "a\tb\n"), "a")


def test_source_spans_count_characters(translator: Translator) -> None:
    text = "Tha größe 🙂 felp \u2581 walpes."
    spans = translator.tokenizer.source_spans(text)
    assert len(spans) == len(translator.tokenizer.encode_source([text])[0]) - 1
    assert "".join(text[begin:end] for begin, end in spans) == text


def test_a_translation_obeys_a_glossary_if_it_has_each_term_often_enough(tmp_path: Path) -> None:
    terms = glossary(tmp_path, "file\tDatei\nsave\tsichern\n")
    assert terms.is_obeyed("Open the File", "die Datei auf")
    assert terms.is_obeyed("nothing", "")
    assert not terms.is_obeyed("save the file", "die Datei")
    assert not terms.is_obeyed("a file is a file", "eine Datei")


def test_lines_without_their_term_are_named_at_the_end(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    glossary(tmp_path, "file\tDatei\n")
    monkeypatch.setenv("TERMS", str(tmp_path / "terms.tsv"))
    monkeypatch.setenv("TEXT", "\n".join(["a file", "nothing", *["the file"] * 11]))
    monkeypatch.setattr("stages.translate.translate_with_terms", lambda translator, terms, line: line)
    translations = list(with_terms(tiny_model, 1, lambda count: None))
    assert len(translations) == 13
    told = "translate: 12 lines lack a term of the glossary: 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, ...\n"
    assert capsys.readouterr().err == told


def translate(model: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stages.translate", str(model)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def test_translate_reads_the_glossary_that_terms_names(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "terms.tsv").write_text("window\tthe old image\n", encoding="utf-8")
    text = "open the file\nclose the window\n\nsave"
    run = translate(tiny_model, TEXT=text, TERMS=str(tmp_path / "terms.tsv"))
    assert (run.returncode, run.stderr, run.stdout.count("\n")) == (0, "", 4)
    plain = translate(tiny_model, TEXT=text).stdout.split("\n")
    assert [run.stdout.split("\n")[i] for i in (0, 2, 3)] == [plain[i] for i in (0, 2, 3)]
    run = translate(tiny_model, TEXT=text, TERMS=str(tmp_path / "none.tsv"))
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith(f"error: TERMS: there is no file {tmp_path}/none.tsv;")
    run = translate(tiny_model, TEXT=text, TERMS=str(tmp_path / "terms.tsv"), PIPELINE_NPROC="2")
    assert (run.returncode, run.stdout) == (2, "")
    assert "TERMS: got NPROC=2, expected one process" in run.stderr
