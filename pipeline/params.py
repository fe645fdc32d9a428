"""Owns the settings: their types, ranges and defaults, and how params.yaml and experiments/*.yaml are read.

One model a section, one section a stage (train has `model` too). Nothing else reads YAML; library code is handed its
own section.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .errors import UserError

Fraction = Annotated[float, Field(ge=0, lt=1)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A section of params.yaml: immutable, strictly typed, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class WheelsSettings(Section):
    """Translation catalogues inside published Python wheels (see pipeline/sources/wheels.py)."""

    min_source_words: PositiveInt = 3


class FilesSettings(Section):
    """One's own corpus. Each value is a path, or a glob, or two paths `source_file | target_file` of aligned lines."""

    train: str = ""


class HubSettings(Section):
    """A dataset on the Hugging Face Hub."""

    dataset: str = ""
    config: str | None = None
    revision: str = "main"


class CleaningSettings(Section):
    """Thresholds of the cleaning rules (see pipeline/cleaning.py)."""

    max_words: PositiveInt = 80


class DownloadSettings(Section):
    source: Literal["wheels", "files", "hub"]
    source_language: str
    target_language: str
    seed: int = 1
    validation_pairs: PositiveInt = 1000
    test_pairs: PositiveInt = 1000
    wheels: WheelsSettings = WheelsSettings()
    files: FilesSettings = FilesSettings()
    hub: HubSettings = HubSettings()
    cleaning: CleaningSettings = CleaningSettings()


class TokenizerSettings(Section):
    type: Literal["unigram", "bpe"] = "unigram"
    joint: bool = True  # one model for both languages, or one a side
    vocabulary_size: PositiveInt = 8000  # pieces, with the 4 special ones and the 256 of byte fallback
    character_coverage: Annotated[float, Field(gt=0, le=1)] = 0.9995


class EncodeSettings(Section):
    max_tokens: PositiveInt = 128  # training pairs with a longer side are left out, and counted


class ModelSettings(Section):
    cell: Literal["lstm", "gru"] = "lstm"
    attention: Literal["dot", "general", "additive", "none"] = "general"
    embedding_size: PositiveInt = 256
    hidden_size: PositiveInt = 512  # of the decoder; the encoder has half of it in each direction
    encoder_layers: PositiveInt = 1
    decoder_layers: PositiveInt = 1
    dropout: Fraction = 0.3
    tie_embeddings: Literal["none", "target", "all"] = "all"
    input_feeding: bool = False

    @model_validator(mode="after")
    def _halves(self) -> Self:
        if self.hidden_size % 2:
            raise ValueError(f"hidden_size: got {self.hidden_size}, expected an even number (half a direction)")
        return self


class TrainSettings(Section):
    seed: int = 1
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    epochs: PositiveInt = 20
    batch_tokens: PositiveInt = 4000  # target tokens an update, over all processes and accumulation steps
    micro_batch_tokens: PositiveInt = 2000  # target tokens in memory at once, in each process
    learning_rate: PositiveFloat = 1.0e-3
    warmup_steps: Annotated[int, Field(ge=0)] = 200
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    gradient_clip: PositiveFloat = 1.0  # of the global norm
    label_smoothing: Fraction = 0.1
    word_dropout: Fraction = 0.0  # share of input tokens replaced by <unk>
    ema_decay: Fraction = 0.0  # 0 keeps no moving average of the weights
    patience: PositiveInt = 5  # epochs without a better validation loss before training stops
    checkpoint_seconds: PositiveInt = 60


class EvaluateSettings(Section):
    beam_size: PositiveInt = 5
    length_penalty: Annotated[float, Field(ge=0)] = 1.0
    seed: int = 1
    examples: PositiveInt = 5
    heat_maps: PositiveInt = 4


class RegisterSettings(Section):
    model_name: str = "translator"


class Params(Section):
    download: DownloadSettings
    tokenizer: TokenizerSettings = TokenizerSettings()
    encode: EncodeSettings = EncodeSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    register: RegisterSettings = RegisterSettings()
