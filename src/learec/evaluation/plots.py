"""Charts of the report as inline SVG, coloured by CSS variables of the page, which follow light and dark.

Each is drawn for a desktop and for a phone, because letters of a shrunken one cannot be read; the page shows one of both.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDE, NARROW = 888, 340  # pixels
LETTERS = 46  # of a row label, or in a line on a phone
PALETTE = 8  # the page defines --s0 to --s7
MARKS = ("M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z", "M-4 -4h8v8h-8z", "M0 -6L6 0L0 6L-6 0z", "M0 -6L5.5 4h-11z")
NONE = Markup("")


@dataclass(frozen=True)
class Scale:
    """A straight map from values to pixels, from round value to round value."""

    low: float
    high: float
    step: float
    start: float
    end: float

    @classmethod
    def around(cls, values: Iterable[float], start: float, end: float, *, n_ticks: int = 5, whole: bool = False) -> "Scale":
        """Hold all values between round ones; `whole` keeps ticks on whole numbers."""
        seen = list(values)
        low, high = min(seen), max(seen)
        step = _round_step(((high - low) or abs(high) or 1.0) / n_ticks)
        step = max(1.0, math.ceil(step)) if whole else step
        return cls(math.floor(low / step + 1e-9) * step, max(math.ceil(high / step - 1e-9) * step, low + step), step, start, end)

    def __call__(self, value: float) -> float:
        """Where a value lies."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Pixels and labels of the round values."""
        count = round((self.high - self.low) / self.step)
        decimals = next(d for d in range(12) if abs(round(self.step, d) - self.step) < 1e-6 * self.step)
        values = [self.low + number * self.step for number in range(count + 1)]
        return [(self(value), signless_zero(f"{value:.{decimals}f}")) for value in values]


def _round_step(step: float) -> float:
    magnitude = 10.0 ** math.floor(math.log10(step))
    return magnitude * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= step * (1 - 1e-9))


def signless_zero(text: str) -> str:
    """Give a formatted number a real minus sign, and zero none."""
    return text.lstrip("-") if not text.strip("-0.") else text.replace("-", "\N{MINUS SIGN}")


def shown_twice(draw: Callable[[bool], Markup]) -> Markup:
    """Draw a chart for a desktop and again for a phone."""
    return Markup('<div class="wide">{}</div><div class="narrow">{}</div>').format(draw(False), draw(True))


@dataclass(frozen=True)
class IntervalRow:
    """A dot with its interval. `strong` dots are filled, others hollow; a `control` is smaller, and its interval dashed."""

    label: str
    mean: float
    low: float
    high: float
    text: str
    strong: bool
    control: bool = False


@dataclass(frozen=True)
class _Place:
    """Where the parts of a row lie below its top, and how high it is."""

    label: int
    text: int
    dot: int
    pitch: int


WIDE_ROW, NARROW_ROW, STACKED_ROW = _Place(20, 20, 16, 30), _Place(16, 16, 30, 44), _Place(16, 32, 46, 62)


def interval_plot(rows: Sequence[IntervalRow], title: str, *, zero: bool = False) -> Markup:
    """Dots and intervals, a row each, top to bottom; `zero` adds the line of no difference. Empty without finite rows."""
    finite = [row for row in rows if all(map(math.isfinite, (row.mean, row.low, row.high)))]
    return shown_twice(lambda narrow: _intervals(finite, title, zero, narrow)) if finite else NONE


def _intervals(rows: list[IntervalRow], title: str, zero: bool, narrow: bool) -> Markup:
    width = NARROW if narrow else WIDE
    fits = all(len(row.label + row.text) < LETTERS for row in rows)
    place = WIDE_ROW if not narrow else NARROW_ROW if fits else STACKED_ROW
    letters = min(max(len(row.label) for row in rows), LETTERS)
    ends = (10, NARROW - 10) if narrow else (40 + 7 * letters, WIDE - 215)
    values = [value for row in rows for value in (row.low, row.high)] + ([0.0] if zero else [])
    scale = Scale.around(values, *ends, n_ticks=4 if narrow else 6)
    floor = place.pitch * len(rows) + 6
    marks = [_vertical_axis_lines(scale, 0, floor)]
    if zero:
        marks.append(_tag('<line class="zero" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{y}"/>', x=scale(0), y=floor))
    marks += [_interval_row(row, scale, place, place.pitch * number, width) for number, row in enumerate(rows)]
    return _svg(width, floor + 22, title, marks)


def _interval_row(row: IntervalRow, scale: Scale, place: _Place, top: float, width: int) -> Markup:
    beside = place.text == place.label
    label = row.label if len(row.label) <= LETTERS else row.label[: LETTERS - 1] + "…"
    return _tag(
        '<g class="{kind}"><title>{full}: {text}</title><text x="0" y="{label_y}">{label}</text>'
        '<text class="quiet" x="{text_x}" y="{text_y}" text-anchor="{anchor}">{text}</text>'
        '<line class="interval" x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}"/>'
        '<circle cx="{mean:.1f}" cy="{y}" r="{radius}"/></g>',
        kind="control" if row.control else "strong" if row.strong else "hollow", radius=3.5 if row.control else 4.5,
        full=row.label, label=label, text=row.text,
        label_y=top + place.label, text_y=top + place.text, y=top + place.dot,
        text_x=width if beside else 0, anchor="end" if beside else "start",
        low=scale(row.low), high=scale(row.high), mean=scale(row.mean),
    )  # fmt: skip


@dataclass(frozen=True)
class Line:
    """Values by epoch, from epoch 0. Lines of one slot share colour, dash and mark; `marked` is the chosen epoch."""

    label: str
    slot: int
    values: Sequence[float]
    marked: int | None = None


def line_chart(lines: Sequence[Line], title: str, *, half: bool = False) -> Markup:
    """Lines over epochs with the chosen epochs marked. `half` fits two charts beside each other. Empty without values."""
    drawn = [line for line in lines if len(line.values) and all(map(math.isfinite, line.values))]
    return shown_twice(lambda narrow: _lines(drawn, title, NARROW if narrow else WIDE // 2 if half else WIDE)) if drawn else NONE


def _lines(lines: list[Line], title: str, width: int) -> Markup:
    height = 320 if width == WIDE else 220
    across = Scale.around([0, *(len(line.values) - 1 for line in lines)], 46, width - 10, n_ticks=width // 80, whole=True)
    up = Scale.around([value for line in lines for value in line.values], height - 40, 10)
    marks = [_axes(across, up, "epoch")]
    for line in lines:
        points = " ".join(f"{across(epoch):.1f},{up(value):.1f}" for epoch, value in enumerate(line.values))
        shape = '<polyline class="line" points="{}" style="{}"><title>{}</title></polyline>'
        marks.append(_tag(shape, points, _stroke(line.slot), line.label))
    for line in lines:
        if line.marked is not None and line.marked < len(line.values):
            told = f"{line.label}: epoch {line.marked}, {line.values[line.marked]:.4f}"
            marks.append(_mark(line.slot, across(line.marked), up(line.values[line.marked]), told))
    return _svg(width, height, title, marks)


def legend(labels: Sequence[str]) -> Markup:
    """Say what colours and marks stand for: a label's place is its slot."""
    shape = (
        '<li><svg class="key" viewBox="0 0 30 14" aria-hidden="true">'
        '<line class="line" x1="0" x2="30" y1="7" y2="7" style="{}"/>{}</svg>{}</li>'
    )
    items = [_tag(shape, _stroke(slot), _mark(slot, 15, 7, label), label) for slot, label in enumerate(labels)]
    return _tag('<ul class="legend">{}</ul>', NONE.join(items))


@dataclass(frozen=True)
class Layer:
    """One histogram among several over the same edges. `style` is a class of the page: filled, dashed or plain."""

    label: str
    style: str
    counts: Sequence[float]


def histogram(edges: Sequence[float], layers: Sequence[Layer], title: str) -> Markup:
    """Shares per bin as overlaid steps, each layer summing to 1. Empty without counts."""
    counted = [layer for layer in layers if sum(layer.counts) > 0]
    return shown_twice(lambda narrow: _steps(edges, counted, title, NARROW if narrow else WIDE)) if counted else NONE


def _steps(edges: Sequence[float], layers: list[Layer], title: str, width: int) -> Markup:
    height = 300 if width == WIDE else 220
    shares = [[count / sum(layer.counts) for count in layer.counts] for layer in layers]
    across = Scale.around(edges, 46, width - 10, n_ticks=8 if width == WIDE else 4)
    up = Scale.around([0, *(share for layer in shares for share in layer)], height - 40, 10)
    marks = [_axes(across, up, "reward")]
    for layer, layer_shares in zip(layers, shares, strict=True):
        corners = [f"{across(edges[0]):.1f},{up(0):.1f}"]
        for left, right, share in zip(edges, edges[1:], layer_shares, strict=False):
            corners += [f"{across(left):.1f},{up(share):.1f}", f"{across(right):.1f},{up(share):.1f}"]
        corners.append(f"{across(edges[-1]):.1f},{up(0):.1f}")
        told = {"style": layer.style, "points": " ".join(corners), "label": layer.label}
        marks.append(_tag('<polyline class="steps {style}" points="{points}"><title>{label}</title></polyline>', **told))
    return _svg(width, height, title, marks)


def histogram_legend(layers: Sequence[Layer]) -> Markup:
    """Say what the styles of a histogram stand for."""
    shape = (
        '<li><svg class="key" viewBox="0 0 30 14" aria-hidden="true">'
        '<polyline class="steps {}" points="1,14 1,3 29,3 29,14"/></svg>{}</li>'
    )
    return _tag('<ul class="legend">{}</ul>', NONE.join(_tag(shape, layer.style, layer.label) for layer in layers))


def _mark(slot: int, x: float, y: float, told: str) -> Markup:
    """Draw a slot's shape, so that lines differ by more than colour: circle, square, diamond, triangle, then hollow."""
    own, paper = f"var(--s{slot % PALETTE})", "var(--paper)"
    style = "fill:{};stroke:{}".format(*((own, paper) if slot % 8 < 4 else (paper, own)))
    shape = '<path class="mark" d="{}" transform="translate({:.1f} {:.1f})" style="{}"><title>{}</title></path>'
    return _tag(shape, MARKS[slot % len(MARKS)], x, y, style, told)


def _stroke(slot: int) -> str:
    return f"stroke:var(--s{slot % PALETTE});stroke-dasharray:{('none', '6 3', '2 3')[slot // PALETTE % 3]}"


def _vertical_axis_lines(scale: Scale, top: float, bottom: float) -> Markup:
    line = '<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>'
    return NONE.join([*(_tag(line, x=x, top=top, bottom=bottom) for x, _ in scale.ticks()), _bottom_labels(scale, bottom + 16)])


def _axes(across: Scale, up: Scale, unit: str) -> Markup:
    """Draw grid lines at the round values of `up`, labels on both sides, and what `across` counts."""
    shape = (
        '<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        '<text class="quiet" x="{label_x}" y="{label_y:.1f}" text-anchor="end">{text}</text>'
    )
    ends = {"left": across.start, "right": across.end, "label_x": across.start - 6}
    lines = [_tag(shape, **ends, y=y, label_y=y + 4, text=text) for y, text in up.ticks()]
    name = _tag('<text class="quiet" x="{}" y="{}" text-anchor="end">{}</text>', across.end, up.start + 36, unit)
    return NONE.join([*lines, _bottom_labels(across, up.start + 18), name])


def _bottom_labels(scale: Scale, y: float) -> Markup:
    shape = '<text class="quiet" x="{x:.1f}" y="{y}" text-anchor="middle">{text}</text>'
    return NONE.join(_tag(shape, x=x, y=y, text=text) for x, text in scale.ticks())


def _svg(width: int, height: float, title: str, marks: Iterable[Markup]) -> Markup:
    shape = '<svg class="chart" viewBox="0 0 {w} {h}" style="max-width:{w}px" role="img"><title>{t}</title>{m}</svg>'
    return _tag(shape, w=width, h=height, t=title, m=NONE.join(marks))


def _tag(shape: str, *values: object, **named: object) -> Markup:
    """Fill a piece of SVG; values are escaped."""
    return Markup(shape).format(*values, **named)  # noqa: S704 (shapes are constants of this file)
