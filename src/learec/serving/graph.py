"""From an agent to an ONNX graph: histories in, the k best items out."""

import logging
import warnings
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from learec.agents.agent import Agent
from learec.errors import ConfigError

LARGEST = 2**31 - 1  # bytes of one ONNX file
TABLE, BIAS = "actor.table", "actor.bias"


def onnx_model(agent: Agent) -> onnx.ModelProto:
    """A graph from items (B, L), blocked (B, P) and k (1,), all int64, to numbers and scores (B, k) and hidden (B, H).

    Items are padded on the right with 0, oldest first, L at most the agent's max_length; blocked numbers, padded with 0,
    score -inf, as padding and cold items do. The lower number of two equal scores comes first. With k = 0 the product with
    all items is left out: for hidden alone.
    """
    size = 4 * sum(tensor.numel() for tensor in (*agent.encoder.parameters(), agent.actor_bias, *_own_table(agent)))
    if size > LARGEST:
        raise ConfigError(
            f"export: the model takes {size / 1e9:.1f} GB and an ONNX file holds 2.1 GB; choose a smaller hidden_size"
        )
    model = _encoder_graph(agent)
    graph = model.graph
    table = _table_name(agent, graph)
    graph.initializer.append(numpy_helper.from_array(agent.possible(agent.actor_bias).detach().numpy(), BIAS))
    graph.input.extend([_integers("blocked", "batch", "blocked"), _integers("k", 1)])
    graph.node.extend(_top_k(table))
    del graph.output[:]
    scores = helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["batch", "found"])
    hidden = helper.make_tensor_value_info("hidden", onnx.TensorProto.FLOAT, ["batch", agent.config.hidden_size])
    graph.output.extend([_integers("numbers", "batch", "found"), scores, hidden])
    onnx.checker.check_model(model)
    return model


class _LastHidden(nn.Module):
    """Items (B, L) padded on the right -> hidden (B, H) at each row's last item."""

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self.agent = agent
        # Caser reads a window that ends at the last item. Its own way to all windows at once has no dynamic length.
        vertical = dict(agent.encoder.named_parameters()).get("vertical")
        self.window = None if vertical is None else len(vertical)

    def forward(self, items: Tensor) -> Tensor:
        last = (items != 0).sum(1) - 1
        if self.window is None:
            hidden: Tensor = self.agent(items)
            return self.agent.query(hidden.gather(1, last[:, None, None].expand(-1, -1, hidden.shape[2]))[:, 0])
        places = last[:, None] - torch.arange(self.window - 1, -1, -1)
        newest = items.gather(1, places.clamp(min=0)) * (places >= 0)  # zeros before a session are as none
        seen: Tensor = self.agent(newest)[:, -1]
        return self.agent.query(seen)


def _encoder_graph(agent: Agent) -> onnx.ModelProto:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of libraries that are not needed
    # The exporter swaps the GRU for one of dynamic length; torch 2.13 would take the one it remembers from an export before.
    getattr(torch.ops.aten.gru.input, "_dispatch_cache", {}).clear()
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    example = torch.ones(3, 17, dtype=torch.long)  # sizes of 0 and 1 would be taken for constants
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                _LastHidden(agent.eval()), (example,), dynamo=True, dynamic_shapes=(dynamic,), external_data=False, verbose=False,
                input_names=["items"], output_names=["hidden"],
            )  # fmt: skip
        except torch.onnx.OnnxExporterError as error:
            told = str(error).strip().splitlines()[-1]
            raise ConfigError(
                f"export: torch {torch.__version__} makes no graph of this encoder ({told}); see `learec doctor`"
            ) from None
    if program is None:
        raise ConfigError(f"export: torch {torch.__version__} has no exporter to ONNX; run `pip install 'learec[export]'`")
    model = program.model_proto
    _forget_source(model.graph)
    del model.metadata_props[:]
    del model.graph.input[:], model.graph.value_info[:]
    model.graph.input.append(_integers("items", "batch", "length"))
    return model


def _forget_source(graph: onnx.GraphProto) -> None:
    """The exporter notes which line of which file on this machine made a node."""
    for part in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]


def _own_table(agent: Agent) -> list[Tensor]:
    """What hidden vectors are multiplied with, where it is not the encoder's item vectors as they are."""
    tied_as_they_are = agent.actor is None and agent.config.cosine_scale is None
    return [] if tied_as_they_are else [agent.actor_table.detach()]


def _table_name(agent: Agent, graph: onnx.GraphProto) -> str:
    """The initializer that hidden vectors are multiplied with."""
    for table in _own_table(agent):
        graph.initializer.append(numpy_helper.from_array(table.numpy(), TABLE))
        return TABLE
    return "agent.encoder.items.weight"


def _top_k(table: str) -> list[onnx.NodeProto]:
    """If k > 0: product, mask, top-k; else nothing."""
    nothing = helper.make_tensor("none", onnx.TensorProto.INT64, [1], [0])
    impossible = helper.make_tensor("impossible", onnx.TensorProto.FLOAT, [1], [-np.inf])
    ranked = [
        helper.make_node("Gemm", ["hidden", table, BIAS], ["all_scores"], transB=1),
        helper.make_node("Shape", ["blocked"], ["blocked_shape"]),
        helper.make_node("ConstantOfShape", ["blocked_shape"], ["minus_infinity"], value=impossible),
        helper.make_node("ScatterElements", ["all_scores", "blocked", "minus_infinity"], ["masked_scores"], axis=1),
        helper.make_node("TopK", ["masked_scores", "k"], ["best_scores", "best_numbers"], axis=1, largest=1, sorted=1),
    ]
    empty = [
        _constant("no_numbers", np.zeros((0, 0), np.int64)),
        _constant("no_scores", np.zeros((0, 0), np.float32)),
    ]
    return [
        helper.make_node("Constant", [], ["zero"], value=nothing),
        helper.make_node("Greater", ["k", "zero"], ["wanted"]),
        helper.make_node(
            "If",
            ["wanted"],
            ["numbers", "scores"],
            then_branch=_branch("ranked", ranked, "best_numbers", "best_scores"),
            else_branch=_branch("empty", empty, "no_numbers", "no_scores"),
        ),
    ]


def _branch(name: str, nodes: list[onnx.NodeProto], numbers: str, scores: str) -> onnx.GraphProto:
    floats = helper.make_tensor_value_info(scores, onnx.TensorProto.FLOAT, [None, None])
    return helper.make_graph(nodes, name, [], [_integers(numbers, None, None), floats])


def _constant(name: str, value: Any) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))


def _integers(name: str, *shape: str | int | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.INT64, shape)
