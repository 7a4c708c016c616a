"""ONNX models small enough to be made in a test: words are counted, nothing is learnt.

Each is a directory as a model hub publishes it: model.onnx, tokenizer.json and config.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
_WORDS = """
    the a is was of in and to it what who which river bridge stone old wooden fence lake capital france paris city
    built 1874 painted green red you are an idiot stupid awful help with your question please nice weather today cat
    sat on mat dogs like long walks near sea mountain high snow falls there every winter
"""
VOCABULARY = {token: place for place, token in enumerate([*MARKS, *_WORDS.split()])}
SIZE = len(VOCABULARY)


def embedder(directory: Path) -> Path:
    """Each known word is an axis of its own: the cosine is that of word counts."""
    nodes = [helper.make_node("Gather", ["words", "input_ids"], ["last_hidden_state"])]
    return _written(directory, nodes, ("last_hidden_state", ["b", "t", SIZE]), {"words": _axes()}, "BertModel")


def supporter(directory: Path, outputs: int, architecture: str = "", **config: Any) -> Path:
    """A cross-encoder (1 output) or verifier (2): the share of the second text's words that the first has."""
    nodes = [
        *_counted(),
        helper.make_node("Min", ["first", "second"], ["shared"]),
        helper.make_node("ReduceSum", ["shared", "last"], ["found"], keepdims=0),
        helper.make_node("ReduceSum", ["second", "last"], ["all"], keepdims=0),
        helper.make_node("Max", ["all", "one"], ["some"]),
        helper.make_node("Div", ["found", "some"], ["share"]),
        helper.make_node("Sub", ["share", "half"], ["above"]),
        helper.make_node("Unsqueeze", ["above", "last"], ["column"]),
        helper.make_node("MatMul", ["column", "slope"], ["logits"]),
    ]
    slope = [[8.0]] if outputs == 1 else [[-4.0, 4.0]]
    constants = {"one": _floats(1.0), "half": _floats(0.5), "last": _ints(1), "slope": _floats(slope)}
    name = architecture or "BertForSequenceClassification"
    return _written(directory, nodes, ("logits", ["b", outputs]), constants | _shared(), name, **config)


def marker(directory: Path, **config: Any) -> Path:
    """Marks each token of the second text that the first does not have."""
    nodes = [
        *_counted(),
        helper.make_node("Unsqueeze", ["first", "last"], ["columns"]),
        helper.make_node("MatMul", ["vectors", "columns"], ["counts"]),
        helper.make_node("Min", ["counts", "one"], ["known"]),
        helper.make_node("Sub", ["half", "known"], ["missing"]),
        helper.make_node("MatMul", ["missing", "slope"], ["logits"]),
    ]
    constants = {"one": _floats(1.0), "half": _floats(0.5), "last": _ints(2), "slope": _floats([[-6.0, 6.0]])}
    labels = {"0": "supported", "1": "hallucinated"}
    return _written(
        directory,
        nodes,
        ("logits", ["b", "t", 2]),
        constants | _shared(),
        "ModernBertForTokenClassification",
        **({"id2label": labels} | config),
    )


def classifier(directory: Path, weights: dict[str, list[float]], bias: list[float], **config: Any) -> Path:
    """The sum of the weights of a text's words, and a bias."""
    table = np.zeros((SIZE, len(bias)), np.float32)
    for word, row in weights.items():
        table[VOCABULARY[word]] = row
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["each"]),
        helper.make_node("Cast", ["attention_mask"], ["present"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["present", "last"], ["kept"]),
        helper.make_node("Mul", ["each", "kept"], ["weighed"]),
        helper.make_node("ReduceSum", ["weighed", "tokens"], ["total"], keepdims=0),
        helper.make_node("Add", ["total", "bias"], ["logits"]),
    ]
    constants = {"table": table, "bias": _floats(bias), "last": _ints(2), "tokens": _ints(1)}
    name = "RobertaForSequenceClassification"
    return _written(directory, nodes, ("logits", ["b", len(bias)]), constants, name, **config)


def _counted() -> list[Any]:
    """Nodes that count the words of the first and the second text, marks left out."""
    return [
        helper.make_node("Gather", ["words", "input_ids"], ["vectors"]),
        helper.make_node("Mul", ["attention_mask", "token_type_ids"], ["of_second"]),
        helper.make_node("Sub", ["attention_mask", "of_second"], ["of_first"]),
        *(
            node
            for name in ("first", "second")
            for node in (
                helper.make_node("Cast", [f"of_{name}"], [f"{name}_mask"], to=TensorProto.FLOAT),
                helper.make_node("Unsqueeze", [f"{name}_mask", "middle"], [f"{name}_row"]),
                helper.make_node("MatMul", [f"{name}_row", "vectors"], [f"{name}_sum"]),
                helper.make_node("Squeeze", [f"{name}_sum", "middle"], [name]),
            )
        ),
    ]


def _shared() -> dict[str, Any]:
    return {"words": _axes(), "middle": _ints(1)}


def _axes() -> Any:
    axes = np.eye(SIZE, dtype=np.float32)
    axes[: len(MARKS)] = 0
    return axes


def _floats(values: Any) -> Any:
    return np.array(values, np.float32)


def _ints(*values: int) -> Any:
    return np.array(values, np.int64)


def _written(
    directory: Path,
    nodes: list[Any],
    answer: tuple[str, list[Any]],
    constants: dict[str, Any],
    name: str,
    **config: Any,
) -> Path:
    used = {each for node in nodes for each in node.input}
    inputs = [
        helper.make_tensor_value_info(each, TensorProto.INT64, ["b", "t"])
        for each in ("input_ids", "attention_mask", "token_type_ids")
        if each in used
    ]
    outputs = [helper.make_tensor_value_info(answer[0], TensorProto.FLOAT, answer[1])]
    kept = [numpy_helper.from_array(value, key) for key, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, kept)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    directory.mkdir(parents=True, exist_ok=True)
    onnx.save(model, directory / "model.onnx")
    (directory / "config.json").write_text(json.dumps({"architectures": [name], "pad_token_id": 0} | config))
    _tokenizer().save(str(directory / "tokenizer.json"))
    return directory


def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(mark, VOCABULARY[mark]) for mark in ("[CLS]", "[SEP]")],
    )
    tokenizer.add_special_tokens(MARKS)
    return tokenizer
