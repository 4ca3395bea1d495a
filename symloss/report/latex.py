"""A LaTeX document of a run or of a loss: formula, derivation, front, figures, and what is needed to repeat it."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from symloss.discovery.result import RULE, SearchResult
from symloss.errors import LossError, OutputError
from symloss.expression import primitives
from symloss.expression.derivation import Derivation
from symloss.expression.drawing import MAX_DRAWN
from symloss.expression.expression import Expression
from symloss.expression.latex import to_lines
from symloss.expression.latex_text import escape, literal
from symloss.losses import catalogue
from symloss.losses.resolve import loss as resolve
from symloss.plotting.surface import of_residual
from symloss.report.command import discover_command
from symloss.report.files import write

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

_WIDTH, _HEIGHT = 5.4, 7.8  # inches that a figure may take on the page
_HEAD = r"""% Written by symloss {version}; needs amsmath, booktabs, longtable and graphicx. Compile it with pdflatex.
\documentclass[a4paper,10pt]{{article}}
\usepackage[margin=25mm]{{geometry}}
\usepackage{{amsmath,booktabs,longtable,graphicx}}
\allowdisplaybreaks
\setcounter{{LTchunksize}}{{1000}}
\sloppy
\raggedbottom
\renewcommand{{\floatpagefraction}}{{0.5}}
\begin{{document}}
\begin{{center}}\Large {title}\end{{center}}
"""
_REFERENCE = {"multiclass": "cross-entropy", "binary": "cross-entropy", "regression": "squared error"}


@dataclass(frozen=True)
class Picture:
    """A figure of a document and the LaTeX source of its caption."""

    figure: Figure
    caption: str

    def latex(self, file: str, label: str) -> str:
        r"""A `figure` environment that shows `file`, for graphicx.

        Args:
            file: Name of the picture, as LaTeX should read it.
            label: What `\ref` calls it, without the `fig:`.
        """
        width, height = self.figure.get_size_inches()
        width *= min(1.0, _WIDTH / width, _HEIGHT / height)
        return "\n".join([
            r"\begin{figure}[htbp]", r"\centering", rf"\includegraphics[width={width:.2f}in]{{{file}}}",
            rf"\caption{{{self.caption}}}", rf"\label{{fig:{label}}}", r"\end{figure}",
        ])  # fmt: skip


@dataclass(frozen=True)
class Document:
    """A document and its figures.

    Args:
        title: LaTeX source of its title.
        sections: LaTeX source of each section by its heading.
        pictures: Its figures, by the name that ends the names of their files.
    """

    title: str
    sections: Mapping[str, str]
    pictures: Mapping[str, Picture]

    def latex(self, stem: str) -> str:
        """The whole source, whose figures are the files `stem-NAME.pdf`."""
        parts = [_HEAD.format(version=version("symloss"), title=self.title)]
        parts += [f"\\section*{{{heading}}}\n{text}\n" for heading, text in self.sections.items()]
        parts += [picture.latex(f"{stem}-{name}.pdf", name) + "\n" for name, picture in self.pictures.items()]
        return "\n".join([*parts, "\\end{document}\n"])

    def write(self, path: str | os.PathLike[str], overwrite: bool = False) -> list[Path]:
        """Write the source and, beside it, the figures as vector graphics.

        Args:
            path: The file, which ends in `.tex`, or a directory, which is made if it is not there; the file in it is
                then `loss.tex`.
            overwrite: Whether files that are there are replaced.

        Returns:
            The files, the source first.

        Raises:
            OutputError: If a file is there already, or cannot be written.
        """
        source = place_of(path, overwrite)
        stem = re.sub(r"[^A-Za-z0-9]+", "-", source.stem).strip("-") or "loss"  # LaTeX takes no odd names of pictures
        pictures = {source.with_name(f"{stem}-{name}.pdf"): picture for name, picture in self.pictures.items()}
        _check_free([*pictures], overwrite)
        with suppress(OSError):  # then writing tells why
            source.parent.mkdir(exist_ok=True)
        for file, picture in pictures.items():
            content = io.BytesIO()
            picture.figure.savefig(content, format="pdf", metadata={"CreationDate": None})
            write(file, content.getvalue())
        write(source, self.latex(stem).encode("ascii"))
        return [source, *pictures]


def place_of(path: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """The source file of a document at `path`, once it is sure that it can be written; nothing is left there yet.

    Args:
        path: As for `Document.write`.
        overwrite: Whether it may be there already.

    Raises:
        OutputError: If it is there already, or cannot be written.
    """
    source = Path(path)
    try:
        if source.suffix != ".tex" or source.is_dir():
            if source.exists() and not source.is_dir():
                raise OutputError(f"a document's name ends in .tex, or is that of a directory; received {str(path)!r}")
            source /= "loss.tex"
            if not source.parent.is_dir():
                source.parent.mkdir()
                source.parent.rmdir()
                return source
        if not source.parent.is_dir():
            raise OutputError(f"there is no directory {str(source.parent)!r} for {source.name!r}; make it first")
        with TemporaryFile(dir=source.parent):
            pass
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write {str(path)!r}: {getattr(error, 'strerror', None) or error}") from None
    _check_free([source], overwrite)
    return source


def _check_free(files: Sequence[Path], overwrite: bool) -> None:
    there = next((file for file in files if os.path.lexists(file)), None)
    if there is not None and (not overwrite or there.is_dir()):
        raise OutputError(f"{str(there)!r} exists; give another name, or --overwrite (overwrite=True) to replace it")


def document(
    what: SearchResult | Expression | nn.Module | str | os.PathLike[str],
    kind: str | None = None,
    digits: int = 4,
    seconds: float = 5.0,
) -> Document:
    """A document on what a run found, or on a loss.

    Args:
        what: A result of `discover`, `resume` or `load_run`; or a loss: a module, name, formula or `.json` file.
        kind: `"multiclass"`, `"binary"` or `"regression"`. Default: that of the loss, `"multiclass"` for a formula.
        digits: Significant digits of the weights, which are also given in full.
        seconds: Most seconds for the derivation.

    Returns:
        The document: formula, derivation, figures; of a run also its front, settings and versions.

    Raises:
        LossError: If the loss cannot be used, or has no formula.
        SearchError: If nothing was evaluated before the search stopped.
    """
    if isinstance(what, SearchResult):
        if kind not in (None, what.kind):
            raise LossError(f"the run is of kind {what.kind!r}; wanted {kind!r}: give the formula of its loss instead")
        return _of_run(what, digits, seconds)
    module = resolve(what, kind or str(getattr(what, "kind", "multiclass")))
    expression = getattr(module, "expression", None)
    if not isinstance(expression, Expression):
        name = getattr(module, "name", None) or type(module).__name__
        raise LossError(f"{name} has no formula ℓ(y, f) to write about; choose a loss that has one")
    return _of_loss(module, expression, digits, seconds)


def _of_run(result: SearchResult, digits: int, seconds: float) -> Document:
    from symloss import plotting

    best = result.best
    if not isinstance(best.expression, Expression):
        raise LossError(f"the pick of this run is {best.expression}, without a formula ℓ(y, f) to write about")
    task = result.config.task["name"]
    intro = (
        f"This loss has the lowest {escape(result.metric_name)} on validation data, {best.fitness:.4g}, of "
        f"{len(result.candidates)} candidates that {escape(result.config.method)} looked at in {len(result.history)} "
        f"generations on the task {literal(task)}."
    )
    if best.scale != 1.0:
        intro += f" The search trained with {best.scale:.{digits}g} times this formula."
    pictures = {
        "curves": _curves(best.loss, best.expression, _settings(result)),
        "front": Picture(plotting.front(result), _front_caption(result)),
    }
    if result.history:  # it may have been cut off in the first generation
        pictures["history"] = Picture(plotting.history(result), _history_caption(result))
    pictures |= _tree(best.expression)
    note = rf"Bold: the pick, {escape(RULE.format(metric=result.metric_name))}. Complexity is the number of nodes."
    sections = {
        "The formula": f"{intro}\n{_formula(best.expression, result.kind, digits)}",
        "Its simplification": _derivation(best.expression.derivation(result.kind, digits, seconds)),
        "The Pareto front": f"{note}\n{result.latex('longtable', digits)}",
        "What this does not show": _caveat(result),
        "To repeat the run": _repeat(result),
    }
    return Document(rf"A loss found by symloss on {literal(task)}", sections, pictures)


def _of_loss(module: nn.Module, expression: Expression, digits: int, seconds: float) -> Document:
    kind, name = str(getattr(module, "kind", "multiclass")), getattr(module, "name", None)
    title, intro = "A loss of targets and predictions", ""
    if isinstance(name, str) and catalogue.find(name):
        entry = catalogue.entry(name)
        title = f"The loss {escape(name)}"
        intro = f"Summed over the outputs it is {escape(entry.equation)}. Source: {escape(entry.source)}."
    sections = {
        "The formula": f"{intro}\n{_formula(expression, kind, digits)}",
        "Its simplification": _derivation(expression.derivation(kind, digits, seconds)),
    }
    return Document(title, sections, {"curves": _curves(module, expression), **_tree(expression)})


def _formula(expression: Expression, kind: str, digits: int) -> str:
    """The formula to read, what its letters mean, and its text with all digits."""
    letters = "the target $y$ and the prediction $f$"
    if kind != "regression":
        letters = "the target $y$, which is 0 or 1, and the predicted probability $f$"
    lines = [
        rf"\[{to_lines(expression, digits)}\]",
        f"It is a function of {letters}; the loss of a sample is its sum over the outputs. It has {expression.size} "
        f"nodes and depth {expression.depth}.",
    ]
    used = [primitives.get(name) for name in dict.fromkeys(expression.nodes) if name not in primitives.TERMINALS]
    if guarded := [f"{escape(p.name)} is {literal(p.protected)}" for p in used if p.protected]:
        lines.append(f"Here {', '.join(guarded)}.")
    lines.append(f"In full precision, as symloss reads it:\n\n{_block(str(expression))}")
    return "\n".join(lines)


def _derivation(found: Derivation) -> str:
    lines = ["Every line is the same function, whose weights are then written with"]
    lines[0] += f" {found.digits} digits; $\\approx$ stands where that rounds one."
    steps = (*found.steps[1:], *found.slices)
    if not steps:
        lines[0] = "No simpler form of it was found."
    if any(step.verdict == "proved" for step in steps):
        lines.append("A proof is by algebra.")
    if any(step.verdict == "numeric" for step in steps):
        lines.append(f"What is checked was compared at {found.tried} points, to a relative $10^{{-9}}$.")
    if steps:
        lines.append(found.latex())
    if found.rounding:
        lines.append(
            rf"With {found.digits} digits its last form moves by at most {100 * found.rounding:.2g}\,\% of its range."
        )
    return "\n".join(lines)


def _caveat(result: SearchResult) -> str:
    reference, settings = _REFERENCE[result.kind], result.settings
    return (
        f"Fitness is measured on validation data of one task after {settings.fitness_steps} training steps, and the "
        "loss was picked for it: it need not win elsewhere. It can also look better merely because it scales the "
        f"learning rate. Before it is called better than {reference}, compare the two on test data, over seeds, with "
        f"the learning rate of {reference} tuned in the same way; {literal('symloss evaluate')} does that. Beating an "
        "untuned baseline is no result."
    )


def _repeat(result: SearchResult) -> str:
    """Command, settings and versions."""
    command = discover_command(result.config)
    text = "The task is not one that symloss loads by name: its data must be given again in Python."
    if command is not None:
        text = f"On the versions below this command gives the same run, bit for bit:\n\n{_block(command)}"
    task = {name: value for name, value in result.config.task.items() if name != "recipe"}
    rows: dict[str, Any] = {f"task: {literal(name)}": value for name, value in task.items()}
    rows |= {name.replace("_", " "): value for name, value in result.settings.to_dict().items()}
    if result.learning_rate is not None:
        rows["learning rate used"] = result.learning_rate
    rows |= {"primitives": result.config.primitives, "stopped": result.stopped}
    rows |= {f"version of {literal(name)}": number for name, number in result.versions.items()}
    lines = [
        rf"\raggedright {name} & \raggedright {literal(_plain(value))} \tabularnewline" for name, value in rows.items()
    ]
    columns = r"@{}p{0.3\linewidth}p{0.65\linewidth}@{}"
    table = [rf"\begin{{longtable}}{{{columns}}}", r"\toprule", *lines, r"\bottomrule", r"\end{longtable}"]
    return "\n".join([text, *table])


def _block(text: str) -> str:
    """A text of its own, as it is."""
    return rf"{{\raggedright\noindent {literal(text)}\par}}"


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _curves(module: nn.Module, expression: Expression, settings: str = "") -> Picture:
    from symloss import plotting

    kind = str(getattr(module, "kind", "multiclass"))
    what = "the residual $f - y$" if kind == "regression" else "the predicted probability $f$ for both targets"
    lines = [
        f"The loss and its derivative in the prediction, against {what}, beside {_REFERENCE[kind]} scaled to the same "
        "mean slope; each curve starts from its lowest value."
    ]
    if kind == "regression" and not of_residual(expression):
        lines.append("Right: both over targets and predictions, as the loss depends on more than the residual.")
    return Picture(plotting.loss_curves(module), " ".join([*lines, settings]).strip())


def _history_caption(result: SearchResult) -> str:
    return (
        "The search by generation: best fitness so far and median of the population; where the new candidates ended; "
        f"time spent in each stage. {_settings(result)}"
    )


def _front_caption(result: SearchResult) -> str:
    return f"Fitness against complexity of every candidate that was evaluated, and the front. {_settings(result)}"


def _settings(result: SearchResult) -> str:
    """The settings that a caption must state."""
    s = result.settings
    recipe = result.config.task.get("recipe", {})
    model = f" ({literal(str(recipe['model']))})" if recipe.get("model") else ""
    return (
        f"Task {literal(result.config.task['name'])}{model}, method {escape(result.config.method)}, seed {s.seed}, "
        f"population {s.population_size}, {s.refinement_steps if s.refine else 0} refinement and {s.fitness_steps} "
        f"training steps, batch {s.batch_size}, learning rate {result.learning_rate or s.learning_rate:.4g}."
    )


def _tree(expression: Expression) -> dict[str, Picture]:
    """The tree, unless it is too large to be drawn."""
    if expression.size > MAX_DRAWN:
        return {}
    from symloss.expression.drawing import draw

    caption = "The formula as a tree; beside each edge its weight, unless that is 1."
    return {"tree": Picture(draw(expression, title=False), caption)}
