"""Define the settings: their types, ranges and defaults. params.yaml explains each; params_file.py reads it.

Each section of params.yaml has a class. Each stage reads the section of its name; `train` also reads `model`, and
`review` belongs to no stage. A stamp records the values of its stage's sections. So an edit here makes a stage stale
only if it changes a value.
"""

import re
from typing import Annotated, ClassVar, Literal, Self

from langcodes import tag_is_valid
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from .split_names import check_names

Fraction = Annotated[float, Field(ge=0, lt=1)]
PositiveInt = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
# The rules of pipeline/data/cleaning.py, in the order in which they are applied.
Rule = Literal[
    "empty",
    "control_characters",
    "no_words",
    "too_short",
    "too_long",
    "length_ratio",
    "identical",
    "untranslated",
    "placeholders",
    "script",
]
ModelName = Annotated[str, Field(pattern=r"^[\w{}. -]+$")]


class Section(BaseModel):
    """A section of params.yaml: immutable, strictly typed, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _fits(cls, value: object) -> object:
        if isinstance(value, int) and abs(value) >= 2**63:
            raise ValueError(f"got {value}, expected a whole number of 64 bits, below {2**63}")
        return value


class AlignedText(Section):
    """Two text files; line n of one is the translation of line n of the other."""

    source: str
    target: str


class FilesSettings(Section):
    """A corpus in local files (see pipeline/data/sources/files.py)."""

    splits: dict[str, str | AlignedText] = {}
    licence: str = "not stated"

    @field_validator("splits")
    @classmethod
    def _names(cls, splits: dict[str, str | AlignedText]) -> dict[str, str | AlignedText]:
        check_names(splits, known=("train", "validation"))
        return splits


class HubSettings(Section):
    """A data set on the Hugging Face Hub (see pipeline/data/sources/hub.py)."""

    dataset: str = ""
    config: str | None = None
    revision: str = "main"


class CleaningSettings(Section):
    """Which cleaning rules drop pairs, and their thresholds (see pipeline/data/cleaning.py, docs/languages.md)."""

    skip: list[Rule] | None = None
    min_source_words: PositiveInt = 1
    max_words: PositiveInt = 80
    max_length_ratio: Annotated[float, Field(gt=1)] = 4.0
    max_copied_words: Annotated[float, Field(gt=0, le=1)] = 0.5
    max_held_out_similarity: Annotated[float, Field(gt=0, le=1)] = 1.0

    @model_validator(mode="after")
    def _leave_room(self) -> Self:
        if (fewest := self.min_source_words) > self.max_words:
            raise ValueError(f"min_source_words: got {fewest}, expected at most max_words: {self.max_words}")
        return self


class DownloadSettings(Section):
    source: Literal["wheels", "files", "hub"]
    source_language: str
    target_language: str
    seed: Seed = 1
    validation_pairs: PositiveInt | None = None
    test_pairs: PositiveInt | None = None
    files: FilesSettings = FilesSettings()
    hub: HubSettings = HubSettings()
    cleaning: CleaningSettings = CleaningSettings()

    @field_validator("source_language", "target_language")
    @classmethod
    def _languages(cls, code: str) -> str:
        if not tag_is_valid(code):
            raise ValueError(
                f"got {code!r}, expected a language code of BCP 47, such as de, pt-BR, zh-Hans or sr_Cyrl; "
                "for a language without a code, take one from qaa to qtz"
            )
        return code

    @model_validator(mode="after")
    def _two_languages(self) -> Self:
        if self.source_language.lower().replace("_", "-") == self.target_language.lower().replace("_", "-"):
            raise ValueError(
                f"target_language: got {self.target_language!r}, the same as source_language; name the difference, as "
                f"in {self.target_language}-x-simple"
            )
        return self


class TokenizerSettings(Section):
    type: Literal["unigram", "bpe"] = "unigram"
    joint: bool = True
    vocabulary_size: Annotated[int, Field(gt=260, lt=2**31)] = 8000
    character_coverage: Annotated[float, Field(ge=0.98, le=1)] = 0.9995
    sample_sentences: PositiveInt = 300_000


class EncodeSettings(Section):
    max_tokens: PositiveInt = 128
    shard_pairs: PositiveInt = 500_000
    store: Annotated[str, Field(min_length=1)] | None = None


class ModelSettings(Section):
    cell: Literal["lstm", "gru", "rnn"] = "lstm"
    attention: Literal["dot", "general", "concat", "additive", "multihead", "none"] = "general"
    attention_heads: PositiveInt = 8
    embedding_size: PositiveInt = 256
    hidden_size: PositiveInt = 512
    encoder_layers: PositiveInt = 1
    decoder_layers: PositiveInt = 1
    residual: bool = False
    first_state: Literal["tanh", "linear"] = "tanh"
    dropout: Fraction = 0.3
    word_dropout: Fraction = 0.1
    tie_embeddings: Literal["none", "target", "all"] = "all"
    input_feeding: bool = False

    @model_validator(mode="after")
    def _halves(self) -> Self:
        if self.hidden_size % 2:
            raise ValueError(f"hidden_size: got {self.hidden_size}, expected an even number (half for each direction)")
        if self.attention == "multihead" and self.hidden_size % self.attention_heads:
            raise ValueError(
                f"attention_heads: got {self.attention_heads}, expected a divisor of hidden_size: {self.hidden_size}"
            )
        return self


class TrainSettings(Section):
    # Settings that do not change the result. So a change of them makes nothing stale (see stamps.py).
    RUN_SETTINGS: ClassVar = ("checkpoint_seconds", "max_minutes")

    seed: Seed = 1
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    deterministic: bool = False
    epochs: PositiveInt = 8
    batch_tokens: PositiveInt = 2000
    micro_batch_tokens: PositiveInt = 1000
    learning_rate: PositiveFloat = 1.5e-3
    warmup_steps: Annotated[int, Field(ge=0)] = 200
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    gradient_clip: PositiveFloat = 1.0
    label_smoothing: Fraction = 0.1
    ema_decay: Fraction = 0.999
    sampling_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    sampling_schedule: Literal["linear", "exponential", "inverse_sigmoid"] = "linear"
    patience: PositiveInt = 5
    max_skipped_steps: Annotated[int, Field(ge=0)] = 0
    checkpoint_seconds: PositiveInt = 60
    max_minutes: PositiveFloat | None = None

    @model_validator(mode="after")
    def _micro_batches_fit(self) -> Self:
        if self.micro_batch_tokens > self.batch_tokens:
            raise ValueError(
                f"micro_batch_tokens: got {self.micro_batch_tokens}, expected at most batch_tokens: {self.batch_tokens}"
            )
        return self


class EvaluateSettings(Section):
    beam_size: Annotated[int, Field(gt=0, le=32)] = 5
    length_penalty: Annotated[float, Field(ge=0, le=10)] = 1.0
    seed: Seed = 1
    examples: PositiveInt = 5
    heat_maps: Annotated[int, Field(ge=0)] = 4


class RegisterSettings(Section):
    model_name: ModelName = "translator-{source_language}-{target_language}"

    @field_validator("model_name")
    @classmethod
    def _braces(cls, name: str) -> str:
        if set("{}") & set(re.sub(r"\{(source|target)_language\}", "", name)):
            raise ValueError(f"got {name!r}, expected only {{source_language}} and {{target_language}} in braces")
        return name


class LossGate(Section):
    """A gate on a score. A test must show that the candidate's score is lower than the other by less than the margin.

    A candidate that is worse by the margin passes at most 1 - level of the reviews. A negative margin requires a gain.
    See pipeline/reviews/non_inferiority.py and docs/review-statistics.md.
    """

    margin: float  # points
    level: Annotated[float, Field(gt=0.5, le=0.99)]  # one-sided confidence; more needs more bootstrap samples
    required: bool


class RatioGate(Section):
    """A gate on a figure of the candidate divided by the same figure of the champion."""

    threshold: PositiveFloat
    required: bool


class ShareGate(Section):
    """A gate on a share of the sentences or tokens."""

    threshold: Annotated[float, Field(ge=0, le=1)]
    required: bool


class CountGate(Section):
    threshold: Annotated[int, Field(ge=0)]
    required: bool


class GateSettings(Section):
    """The limits of a review. Each applies to the worst value of all test sets (see pipeline/reviews/gates.py)."""

    bleu_drop: LossGate = LossGate(margin=1.0, level=0.95, required=True)
    chrf_drop: LossGate = LossGate(margin=1.0, level=0.95, required=True)
    latency_ratio: RatioGate = RatioGate(threshold=1.5, required=False)
    size_ratio: RatioGate = RatioGate(threshold=2.0, required=True)
    empty_outputs: ShareGate = ShareGate(threshold=0.005, required=True)
    copied_outputs: ShareGate = ShareGate(threshold=0.05, required=True)
    looping_outputs: ShareGate = ShareGate(threshold=0.01, required=True)
    unknown_pieces: ShareGate = ShareGate(threshold=0.01, required=True)
    leak: CountGate = CountGate(threshold=0, required=True)


class ReviewSettings(Section):
    """How a candidate is reviewed. This section belongs to no stage and is in no stamp."""

    test_sets: dict[str, str | AlignedText] = {}  # name -> as in files.splits; in addition to those of the runs
    production_model: ModelName | None = None
    gates: GateSettings = GateSettings()

    @field_validator("test_sets")
    @classmethod
    def _names(cls, test_sets: dict[str, str | AlignedText]) -> dict[str, str | AlignedText]:
        check_names(test_sets)
        return test_sets


class StudySettings(Section):
    """What `make study` compares. This section belongs to no stage and is in no stamp."""

    experiments: Annotated[list[str], Field(min_length=2)] = [
        "no-attention",
        "general",
        "dot",
        "concat",
        "additive",
        "multihead",
        "input-feeding",
        "gnmt",
        "book",
        "scheduled-sampling",
        "lstm",
        "gru",
        "rnn",
        "no-attention-64",
        "no-attention-128",
        "no-attention-256",
        "no-attention-512",
        "no-attention-1024",
    ]
    walk: Annotated[list[str], Field(min_length=1)] = ["no-attention", "dot", "general", "additive", "multihead"]
    seed: Seed = 1

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.experiments)) < len(self.experiments):
            raise ValueError(f"experiments: got {', '.join(self.experiments)}, expected each of them once")
        if unknown := [name for name in self.walk if name not in self.experiments]:
            raise ValueError(f"walk: got {unknown[0]!r}, expected some of the experiments")
        return self


class Params(Section):
    download: DownloadSettings
    tokenizer: TokenizerSettings = TokenizerSettings()
    encode: EncodeSettings = EncodeSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    registration: RegisterSettings = Field(RegisterSettings(), alias="register")  # a BaseModel has a method `register`
    review: ReviewSettings = ReviewSettings()
    study: StudySettings = StudySettings()

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        download = self.download
        named = {"files": download.files.splits, "hub": download.hub.dataset}
        for source, setting in (("files", "files.splits"), ("hub", "hub.dataset")):
            if named[source] and download.source != source:
                raise ValueError(
                    f"download.source: got {download.source!r}, but download.{setting} is set; write source: {source}, "
                    f"or remove {setting}"
                )
        if download.source == "files" and "train" not in download.files.splits:
            got = ", ".join(download.files.splits) or "none"
            raise ValueError(
                f"download.files.splits: got {got}, expected train, and optionally validation and test sets"
            )
        if download.source == "hub" and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", download.hub.dataset):
            raise ValueError(f"download.hub.dataset: got {download.hub.dataset!r}, expected owner/name of a data set")
        return self

    @model_validator(mode="after")
    def _one_vocabulary(self) -> Self:
        if self.model.tie_embeddings == "all" and not self.tokenizer.joint:
            raise ValueError(
                "model.tie_embeddings: got 'all', which shares one matrix between the languages, "
                "expected target or none with one tokenizer for each side (tokenizer.joint: false)"
            )
        return self
