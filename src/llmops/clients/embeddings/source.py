"""Where an encoder comes from: all that `load_embedder_for` has to know, hashable, so that it can be a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Precision = Literal["fp32", "int8"]
Device = Literal["auto", "cpu", "cuda"]
VectorForm = Literal["float", "base64"]


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxSource:
    """A BERT through ONNX Runtime.

    Attributes:
        model: "all-MiniLM-L6-v2", whose weights come as a package, or a folder.
        precision: "fp32" is exact; "int8" is faster and moves the vectors a little.
        device: "auto" takes the GPU where ONNX Runtime has one; int8 is for the processor.
        query_prefix: put before a question, as models such as e5 want it.
        passage_prefix: put before everything else that is embedded.
    """

    model: str
    precision: Precision = "fp32"
    device: Device = "auto"
    query_prefix: str = ""
    passage_prefix: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchSource:
    """Any local folder that sentence-transformers reads.

    Attributes:
        query_prefix: None takes the prompt "query" that the folder itself names, if it names one.
        passage_prefix: None takes the folder's prompt for documents.
    """

    model: str
    device: Device = "auto"
    query_prefix: str | None = None
    passage_prefix: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointSource:
    """A server that speaks the OpenAI embeddings API: vLLM, TEI, a vendor.

    Attributes:
        base_url: up to and including `/v1`.
        model: what the endpoint calls it.
        dimension: of its vectors; every answer is held against it.
        revision: changed by hand when the endpoint has other weights under the same name.
        api_key_env: environment variable that holds its key.
        max_tokens: the model's window; longer texts are cut before they are sent.
        tokenizer: path of the model's `tokenizer.json`; "" estimates, on the safe side.
        batch_size: texts a request.
        batch_tokens: tokens a request, as counted or estimated here.
        n_concurrent: requests in flight; more texts wait here and not there.
        n_attempts: how often a request is sent before its error counts.
        timeout_s: of one request.
        query_timeout_s: of one question with all its attempts: somebody waits for it.
        vector_form: how vectors travel; base64 is a quarter of the bytes, where the server knows it.
        shortened: ask for vectors of `dimension` from a model that has longer ones (Matryoshka).
        query_prefix: put before a question.
        passage_prefix: put before everything else that is embedded.
    """

    base_url: str
    model: str
    dimension: int
    revision: str = ""
    api_key_env: str = ""
    max_tokens: int = 512
    tokenizer: str = ""
    batch_size: int = 32
    batch_tokens: int = 16_384
    n_concurrent: int = 4
    n_attempts: int = 6
    timeout_s: float = 60.0
    query_timeout_s: float = 10.0
    vector_form: VectorForm = "float"
    shortened: bool = False
    query_prefix: str = ""
    passage_prefix: str = ""


EncoderSource = OnnxSource | TorchSource | EndpointSource
