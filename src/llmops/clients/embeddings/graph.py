"""A BERT encoder as an ONNX graph, made from its safetensors without torch.

Devlin et al., BERT (2019); pooling and normalisation as in Reimers & Gurevych, Sentence-BERT (2019). The graph
uses standard operators only: ONNX Runtime fuses them itself, and was as fast as with its own fused ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from llmops.clients.embeddings.model_folder import ModelFolder
from llmops.errors import ConfigurationError

_OPSET = 17
Weights = Mapping[str, NDArray[np.float32]]


def build_graph(folder: ModelFolder) -> bytes:
    """Serialised model: `input_ids` and `attention_mask` `(batch, tokens)` int64 in, `embedding`
    `(batch, hidden)` float32 of unit length out.

    Raises:
        ConfigurationError: the weights are damaged or not BERT's.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        weights = load_file(folder.path / "model.safetensors")
        return _Graph(folder.config, weights).model().SerializeToString()  # type: ignore[no-any-return]  # onnx is untyped
    except (SafetensorError, OSError) as error:
        raise ConfigurationError(f"the weights in {str(folder.path)!r} cannot be read ({error})") from error
    except KeyError as error:
        raise ConfigurationError(
            f"the weights in {str(folder.path)!r} are not BERT's: {error} is missing"
        ) from error


class _Graph:
    """Collects nodes and weights; each method returns the name of its output."""

    def __init__(self, config: Mapping[str, Any], weights: Weights) -> None:
        self._weights = {name.removeprefix("bert."): value for name, value in weights.items()}
        self._hidden: int = config["hidden_size"]
        self._heads: int = config["num_attention_heads"]
        self._layers: int = config["num_hidden_layers"]
        self._epsilon: float = config["layer_norm_eps"]
        self._nodes: list[Any] = []
        self._initializers: dict[str, Any] = {}

    def model(self) -> Any:
        hidden = self._embeddings()
        bias = self._mask_bias()
        for layer in range(self._layers):
            hidden = self._layer(hidden, bias, f"encoder.layer.{layer}.")
        self._pool(hidden)
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
            for name in ("input_ids", "attention_mask")
        ]
        output = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", self._hidden])
        graph = helper.make_graph(self._nodes, "bert", inputs, [output], list(self._initializers.values()))
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)

    def _embeddings(self) -> str:
        words = self._add("Gather", self._weight("embeddings.word_embeddings.weight"), "input_ids")
        # One sentence at a time: every token is of type 0, so its row is part of the positions.
        types = self._weights["embeddings.token_type_embeddings.weight"][0]
        positions = self._constant("positions", self._weights["embeddings.position_embeddings.weight"] + types)
        length = self._add("Shape", "input_ids", start=1, end=2)
        zero = self._constant("zero", np.array([0], np.int64))
        here = self._add("Slice", positions, zero, length, zero)
        return self._norm(self._add("Add", words, here), "embeddings.LayerNorm")

    def _mask_bias(self) -> str:
        """0 where a token stands and a very negative number on padding: `(batch, 1, 1, tokens)`."""
        mask = self._add("Cast", "attention_mask", to=TensorProto.FLOAT)
        spread = self._add("Unsqueeze", mask, self._constant("axes_1_2", np.array([1, 2], np.int64)))
        absent = self._add("Sub", self._scalar("one", 1.0), spread)
        return self._add("Mul", absent, self._scalar("lowest", float(np.finfo(np.float32).min)))

    def _layer(self, hidden: str, bias: str, at: str) -> str:
        attended = self._attention(hidden, bias, f"{at}attention.self.")
        mixed = self._dense(attended, f"{at}attention.output.dense")
        hidden = self._norm(self._add("Add", mixed, hidden), f"{at}attention.output.LayerNorm")
        wide = self._gelu(self._dense(hidden, f"{at}intermediate.dense"))
        narrow = self._dense(wide, f"{at}output.dense")
        return self._norm(self._add("Add", narrow, hidden), f"{at}output.LayerNorm")

    def _attention(self, hidden: str, bias: str, at: str) -> str:
        size = self._hidden // self._heads
        split = self._constant("split_heads", np.array([0, 0, self._heads, size], np.int64))
        query, key, value = (
            self._add("Transpose", self._add("Reshape", self._dense(hidden, f"{at}{name}"), split), perm=perm)
            for name, perm in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3]))
        )
        scores = self._add("Div", self._add("MatMul", query, key), self._scalar("root_size", float(np.sqrt(size))))
        shares = self._add("Softmax", self._add("Add", scores, bias), axis=-1)
        context = self._add("Transpose", self._add("MatMul", shares, value), perm=[0, 2, 1, 3])
        return self._add(
            "Reshape", context, self._constant("join_heads", np.array([0, 0, self._hidden], np.int64))
        )

    def _gelu(self, x: str) -> str:
        """The exact form, with the error function."""
        inner = self._add("Erf", self._add("Div", x, self._scalar("root_two", float(np.sqrt(2)))))
        shifted = self._add("Add", inner, self._scalar("one", 1.0))
        return self._add("Mul", self._add("Mul", x, shifted), self._scalar("half", 0.5))

    def _pool(self, hidden: str) -> None:
        """Mean over the tokens that stand, then unit length."""
        mask = self._add("Cast", "attention_mask", to=TensorProto.FLOAT)
        axis = self._constant("axis_1", np.array([1], np.int64))
        total = self._add("Squeeze", self._add("MatMul", self._add("Unsqueeze", mask, axis), hidden), axis)
        mean = self._add("Div", total, self._add("ReduceSum", mask, axis, keepdims=1))
        self._nodes.append(helper.make_node("LpNormalization", [mean], ["embedding"], axis=-1, p=2))

    def _dense(self, x: str, at: str) -> str:
        product = self._add("MatMul", x, self._constant(f"{at}.weight", self._weights[f"{at}.weight"].T))
        return self._add("Add", product, self._weight(f"{at}.bias"))

    def _norm(self, x: str, at: str) -> str:
        scale, shift = self._weight(f"{at}.weight"), self._weight(f"{at}.bias")
        return self._add("LayerNormalization", x, scale, shift, axis=-1, epsilon=self._epsilon)

    def _add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        output = f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def _weight(self, name: str) -> str:
        return self._constant(name, self._weights[name])

    def _scalar(self, name: str, value: float) -> str:
        return self._constant(name, np.array(value, np.float32))

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        if name not in self._initializers:
            self._initializers[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name
