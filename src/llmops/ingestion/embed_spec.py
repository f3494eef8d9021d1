"""What stands under `embed:` in an ingestion spec: an encoder here, in torch, or behind an endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, assert_never

from pydantic import Discriminator, Field, Tag, model_validator

from llmops.clients.embeddings.source import EncoderSource, EndpointSource, OnnxSource, TorchSource
from llmops.config import Section, beside

_QUERY_PREFIX = "Put before a question, such as 'query: ' for e5. It changes no stored vector."
_WRONG_TYPE = "type must be 'onnx', 'sentence_transformers' or 'openai'"
_PASSAGE_PREFIX = "Put before a passage. It changes the vectors: a collection has to be built anew."


class OnnxEmbed(Section):
    """A BERT with mean pooling through ONNX Runtime; what no `type` means.

    `precision: int8` is about twice as fast and moves the vectors: it takes part in nothing until its loss on
    labelled questions was measured (`accepts_loss_of`).
    """

    type: Literal["onnx"] = "onnx"
    model: str = Field(
        default="all-MiniLM-L6-v2", description="Packaged model name, or a folder, relative to this file."
    )
    precision: Literal["fp32", "int8"] = Field(default="fp32", description="int8 needs accepts_loss_of.")
    accepts_loss_of: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Largest loss of nDCG@10 against fp32 that int8 may have, as measured.",
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    query_prefix: str = Field(default="", description=_QUERY_PREFIX)
    passage_prefix: str = Field(default="", description=_PASSAGE_PREFIX)

    @model_validator(mode="after")
    def _states_its_loss(self) -> OnnxEmbed:
        if self.precision == "int8" and self.accepts_loss_of is None:
            raise ValueError("precision int8 changes what is found: add accepts_loss_of, such as 0.01")
        if self.precision == "int8" and self.device == "cuda":
            raise ValueError("precision int8 is for the processor: leave device out, or take fp32")
        return self


class SentenceTransformersEmbed(Section):
    """Any local folder that sentence-transformers reads; needs the extra `finetune`."""

    type: Literal["sentence_transformers"]
    model: str = Field(default="all-MiniLM-L6-v2", min_length=1, description="A folder, relative to this file.")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    query_prefix: str | None = Field(default=None, description=f"{_QUERY_PREFIX} Left out: the folder's own.")
    passage_prefix: str | None = Field(default=None, description=f"{_PASSAGE_PREFIX} Left out: the folder's own.")


class OpenAIEmbed(Section):
    """A server that speaks the OpenAI embeddings API: vLLM, Text Embeddings Inference, a vendor."""

    type: Literal["openai"]
    base_url: str = Field(pattern=r"^https?://", description="Up to and including /v1.")
    model: str = Field(min_length=1, description="What the endpoint calls it.")
    dimension: int = Field(ge=1, le=65_536, description="Of its vectors; every answer is held against it.")
    revision: str = Field(
        default="",
        description="Change it when other weights are served under the same name: all is embedded anew.",
    )
    api_key_env: str = Field(default="", description="Environment variable that holds its key.")
    max_tokens: int = Field(default=512, ge=16, description="The model's window; longer texts are cut.")
    tokenizer: str = Field(
        default="",
        description="The model's tokenizer.json, relative to this file; without it tokens are estimated.",
    )
    batch_size: int = Field(default=32, ge=1, le=2048, description="Texts a request.")
    batch_tokens: int = Field(default=16_384, ge=1, description="Tokens a request.")
    n_concurrent: int = Field(default=4, ge=1, le=256, description="Requests in flight.")
    n_attempts: int = Field(default=6, ge=1, le=20, description="Sendings of a request before its error counts.")
    timeout_s: float = Field(default=60.0, gt=0, description="Of one request.")
    query_timeout_s: float = Field(default=10.0, gt=0, description="Of one question, all attempts together.")
    vector_form: Literal["float", "base64"] = Field(
        default="float", description="How vectors travel; base64 is smaller, where the server knows it."
    )
    shortened: bool = Field(
        default=False, description="Ask for vectors of `dimension` from a model that has longer ones."
    )
    query_prefix: str = Field(default="", description=_QUERY_PREFIX)
    passage_prefix: str = Field(default="", description=_PASSAGE_PREFIX)


def _type_of(value: Any) -> str:
    """The word that says what it is; a spec of before there were several has none."""
    found = value.get("type", "onnx") if isinstance(value, dict) else getattr(value, "type", "onnx")
    return str(found)


EmbedSpec = Annotated[
    Annotated[OnnxEmbed, Tag("onnx")]
    | Annotated[SentenceTransformersEmbed, Tag("sentence_transformers")]
    | Annotated[OpenAIEmbed, Tag("openai")],
    Discriminator(_type_of, custom_error_type="embed_type", custom_error_message=_WRONG_TYPE),
    Field(description="The encoder; without `type` it is onnx."),
]


def encoder_source(embed: OnnxEmbed | SentenceTransformersEmbed | OpenAIEmbed, file: str) -> EncoderSource:
    """What `load_embedder_for` loads, its folders and files found from the spec's own `file`."""
    match embed:
        case OnnxEmbed():
            return OnnxSource(
                **embed.model_dump(include={"precision", "device", "query_prefix", "passage_prefix"}),
                model=beside(file, embed.model),
            )
        case SentenceTransformersEmbed():
            return TorchSource(**embed.model_dump(exclude={"type", "model"}), model=beside(file, embed.model))
        case OpenAIEmbed():
            tokenizer = str((Path(file).parent / embed.tokenizer).resolve()) if embed.tokenizer else ""
            return EndpointSource(**embed.model_dump(exclude={"type", "tokenizer"}), tokenizer=tokenizer)
        case _:
            assert_never(embed)
