"""Tables as Markdown and as LaTeX (booktabs), and the list of what is missing."""

import re
from collections.abc import Iterable, Mapping, Sequence

from learec.experiment.tables import Line, Table

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "±": r"$\pm$", "†": r"\dag{}", "‡": r"\ddag{}",
    "↓": r"$\downarrow$", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "[": "{[}", "]": "{]}",
}  # fmt: skip


def markdown(name: str, tables: Iterable[Table], missing: Mapping[str, str]) -> str:
    """A page with every table, and before them what is not in them."""
    parts = [f"# {_escaped(name)}", *([_missing(missing)] if missing else []), *(_markdown_table(table) for table in tables)]
    return "\n\n".join(parts) + "\n"


def _missing(missing: Mapping[str, str]) -> str:
    lines = (f"- {_escaped(job)}: {_escaped(why)}" for job, why in missing.items())
    return "\n".join(["**Missing:**", "", *lines])


def _markdown_table(table: Table) -> str:
    rows = [table.heading, tuple("---" for _ in table.heading), *(_marked(table, line, " ") for line in table.lines)]
    text = "\n".join(f"| {' | '.join(map(_escaped, row))} |" for row in rows)
    return "\n\n".join([f"## {_escaped(table.title)}", text, *([table.note] if table.note else [])])


def _marked(table: Table, line: Line, between: str) -> Sequence[str]:
    """A line's cells with its marks in their column."""
    if not line.marks or table.marked is None:
        return line.cells
    cells = list(line.cells)
    cells[table.marked] += between + line.marks
    return cells


def _escaped(text: str) -> str:
    return re.sub(r"([|*_\\`<>\[\]])", r"\\\1", " ".join(text.split()))


def latex(tables: Iterable[Table], missing: Mapping[str, str]) -> str:
    r"""Table environments to \input; what is missing is said in comments."""
    comments = [f"% missing: {' '.join(job.split())}: {' '.join(why.split())}" for job, why in missing.items()]
    return "\n\n".join([r"% needs \usepackage{booktabs}", *comments, *(_latex_table(table) for table in tables)]) + "\n"


def _latex_table(table: Table) -> str:
    columns = "ll" + "r" * (len(table.heading) - 2)
    body = [line for number, row in enumerate(table.lines) for line in _latex_line(table, row, number)]
    note = f" {latex_text(table.note)}" if table.note else ""
    return "\n".join(
        [
            r"\begin{table}", r"\centering", rf"\caption{{{latex_text(table.title)}.{note}}}",
            rf"\label{{tab:{re.sub(r'[^A-Za-z0-9-]+', '-', table.name)}}}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule",
            _joined(table.heading), r"\midrule", *body, r"\bottomrule", r"\end{tabular}", r"\end{table}",
        ]
    )  # fmt: skip


def _latex_line(table: Table, line: Line, number: int) -> list[str]:
    return [*([r"\midrule"] if line.rule and number else []), _joined(_marked(table, line, " "))]


def _joined(cells: Sequence[str]) -> str:
    return " & ".join(map(latex_text, cells)) + r" \\"


def latex_text(text: str) -> str:
    """Text in which nothing is a command."""
    return "".join(LATEX.get(character, character) for character in text)
