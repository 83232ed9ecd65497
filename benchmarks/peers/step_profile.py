"""Where a profiled epoch's time goes, by kind of work."""

from collections import defaultdict
from typing import Any

from torch.profiler import profile

from learec.agents.item_product import aligned

PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::addmv", "aten::mv")
BY_NAME = {  # the first that is in an operation's name
    "attention": ("scaled_dot_product",),
    "layer norm and GELU": ("layer_norm", "gelu"),
    "dropout masks": ("random_", "aten::ge", "bernoulli"),
    "embedding rows, forward and backward": ("embedding", "index", "gather", "scatter", "nonzero"),
    "gradient norm": ("vector_norm", "foreach_norm", "clamp"),
    "sums, products and copies of hidden vectors": (
        "aten::mul",
        "aten::add",
        "aten::sum",
        "aten::copy_",
        "aten::fill_",
        "aten::where",
    ),
}
DATA = "data, Python and calls"


def kind_of(event: Any, width: int) -> str:
    """What a profiled operation is for; `width` is that of the logits, by which the softmax is known."""
    parent = event
    while parent is not None:
        if parent.name.startswith("Optimizer.step"):
            return "optimizer"
        parent = parent.cpu_parent
    widths = (width, aligned(width))  # blocks of logits are padded to whole cache lines
    has_logits = any(len(shape) == 2 and shape[1] in widths for shape in event.input_shapes or [])
    if event.name in PRODUCTS:
        return (
            "product with all items"
            if any(set(widths) & set(shape) for shape in event.input_shapes)
            else "products in the encoder"
        )
    if has_logits and not event.name.startswith("autograd::"):
        return "softmax over all items"
    return next((kind for kind, names in BY_NAME.items() if any(name in event.name for name in names)), DATA)


def print_profile(profiler: profile, width: int) -> None:
    """A line a kind of work, in shares of the main thread's time and of the backward thread's."""
    microseconds: dict[str, float] = defaultdict(float)
    events = profiler.events() or []
    for event in events:
        microseconds[kind_of(event, width)] += event.self_cpu_time_total
    span = max(event.time_range.end for event in events) - min(event.time_range.start for event in events)
    microseconds[DATA] += max(span - sum(microseconds.values()), 0.0)
    for kind, spent in sorted(microseconds.items(), key=lambda pair: -pair[1]):
        print(f"  {spent / sum(microseconds.values()):6.1%}  {kind}")
