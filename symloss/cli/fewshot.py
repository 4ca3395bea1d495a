"""`symloss fewshot`: meta-learn a few-shot learner, evaluate learners on the same tasks, prepare the glyphs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from symloss.cli.arguments import NumbersFile, PlotFile

if TYPE_CHECKING:
    from symloss.fewshot import ClassSplits
    from symloss.fewshot.episodes import Source

EXAMPLES = {
    "train": "symloss fewshot train sinusoids --encoder mlp --shots 10 --inner-steps 1 --out runs/sinusoids",
    "evaluate": "symloss fewshot evaluate runs/maml runs/npbml --tasks 600 --plot accuracy.png",
    "glyphs": "symloss fewshot glyphs",
}

app = typer.Typer(
    help="Few-shot learning: a meta-learned initialisation, optimiser and loss (NPBML), MAML and Meta-SGD.",
)

Root = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Directory of the images, or of the fonts.")]
Queries = Annotated[int, typer.Option(help="Queries per class (regression: of a task).")]
Distort = Annotated[bool, typer.Option("--distort/--no-distort", help="Random affine distortion of glyphs.")]
Noise = Annotated[float, typer.Option(help="Standard deviation of noise on glyphs, whose pixels go from 0 to 1.")]


@app.command("train", epilog=f"Example: [bold]{EXAMPLES['train']}[/bold]")
def train(
    data: Annotated[
        str, typer.Argument(help="glyphs, sinusoids, omniglot, mini-imagenet, tiered-imagenet or cifar-fs.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory of the run; the same command goes on with it.")],
    variant: Annotated[str, typer.Option(help="npbml, npbml-transductive, maml, meta-sgd, prototypes ...")] = "npbml",
    encoder: Annotated[str, typer.Option(help="conv4, resnet12 or mlp.")] = "conv4",
    width: Annotated[int | None, typer.Option(help="Channels of conv4.", show_default="32")] = None,
    ways: Annotated[int, typer.Option(help="Classes of a task.")] = 5,
    shots: Annotated[int, typer.Option(help="Support samples per class.")] = 1,
    queries: Queries = 15,
    inner_steps: Annotated[int, typer.Option(help="Inner steps.")] = 5,
    learning_rate: Annotated[float, typer.Option(help="Inner learning rate.")] = 0.01,
    first_order: Annotated[bool, typer.Option("--first-order", help="No second derivatives.")] = False,
    base_loss: Annotated[str | None, typer.Option(metavar="LOSS", help="L_base: a formula, file or run.")] = None,
    fixed_width: Annotated[bool, typer.Option("--fixed-width", help="Loss networks as published.")] = False,
    adapted_blocks: Annotated[int | None, typer.Option(help="Blocks that are adapted.", show_default="all")] = None,
    pretrain: Annotated[int, typer.Option(metavar="N", help="Steps of pre-training on all classes beforehand.")] = 0,
    iterations: Annotated[int, typer.Option(help="Meta-iterations.")] = 3000,
    meta_batch: Annotated[int, typer.Option(help="Tasks of a meta-iteration.")] = 4,
    meta_learning_rate: Annotated[float, typer.Option(help="Learning rate of the outer loop.")] = 1e-3,
    root: Root = None,
    distort: Distort = True,
    noise: Noise = 0.0,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    seed: Annotated[int, typer.Option(help="Of weights and tasks.")] = 0,
) -> None:  # fmt: skip
    """Meta-learn from tasks, keep what does best on validation tasks, and evaluate it on 600 test tasks.

    After Ctrl-C (exit status 130) or a kill the same command goes on, with the same result.
    """
    from symloss.fewshot import NPBML, VARIANTS, Episodes
    from symloss.tasks.architectures.sizes import unknown

    if variant not in VARIANTS:
        raise unknown("variant", variant, VARIANTS)
    options = {"inner_steps": inner_steps, **VARIANTS[variant]} | ({} if width is None else {"width": width})
    learner = NPBML(
        encoder, None if data == "sinusoids" else ways, shots,
        kind="regression" if data == "sinusoids" else "multiclass", base_loss=base_loss, device=device,
        lr=learning_rate, first_order=first_order, fixed_width=fixed_width, adapted_blocks=adapted_blocks, seed=seed,
        **options,
    )  # fmt: skip
    parts = episodes(data, learner.settings.ways, shots, queries, seed, root, distort, noise)
    if pretrain:
        if not isinstance(parts[0], Episodes):
            raise unknown("data to pre-train on", data, ("glyphs", "omniglot", "mini-imagenet"))
        learner.pretrain(parts[0], pretrain, progress=True)
    learner.fit(
        parts[0], parts[1], iterations, meta_batch=meta_batch, meta_lr=meta_learning_rate, out=out, progress=True
    )  # fmt: skip
    print(learner)
    print(f"test: {learner.evaluate(parts[2])}")
    print(f"\nkept in {out}\nnext: symloss fewshot evaluate {out}")


@app.command("evaluate", epilog=f"Example: [bold]{EXAMPLES['evaluate']}[/bold]")
def evaluate(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Directories of `fewshot train`.")],
    on: Annotated[str | None, typer.Option(help="What the tasks are of.", show_default="glyphs or sinusoids")] = None,
    tasks: Annotated[int, typer.Option(help="Test tasks, the same for all runs.")] = 600,
    steps: Annotated[int | None, typer.Option(help="Inner steps.", show_default="as trained")] = None,
    queries: Queries = 15,
    root: Root = None,
    distort: Distort = True,
    noise: Noise = 0.0,
    seed: Annotated[int, typer.Option(help="Of the tasks.")] = 0,
    plot: PlotFile = None,
    numbers: NumbersFile = None,
) -> None:
    """Evaluate learners on the same test tasks, with 95 % intervals, each beside the first one."""
    from symloss.cli.output import check_numbers, check_picture, save_figure, save_numbers, table
    from symloss.fewshot import NPBML
    from symloss.fewshot.result import text

    if plot is not None:
        check_picture(plot)
    if numbers is not None:
        check_numbers(numbers)
    learners = {str(run): NPBML.load(run) for run in runs}
    scores = {}
    for name, learner in learners.items():
        own = learner.settings
        data = on or ("sinusoids" if own.kind == "regression" else "glyphs")
        scores[name] = learner.evaluate(
            episodes(data, own.ways, own.shots, queries, seed, root, distort, noise)[2], tasks, steps
        )
    first = next(iter(scores.values()))
    rows = [
        (name, text(s.estimate, s.metric), "" if s is first else text(s.minus(first), s.metric), repr(learners[name]))
        for name, s in scores.items()
    ]
    print(table(("run", f"{first.metric}, {tasks} tasks", "minus the first", "learner"), rows))
    if plot is not None:
        from symloss.plotting import fewshot_scores

        save_figure(fewshot_scores(scores), plot)
    if numbers is not None:
        save_numbers({name: s.to_json() for name, s in scores.items()}, numbers)


@app.command("glyphs", epilog=f"Example: [bold]{EXAMPLES['glyphs']}[/bold]")
def glyphs(
    root: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Directory of fonts.", show_default="/usr/share/fonts")
    ] = None,
) -> None:
    """Draw the glyphs of the fonts that are there, once; they are kept in the user's cache directory."""
    from symloss.fewshot.glyphs import glyphs as prepare
    from symloss.fewshot.glyphs import lines

    for line in lines(prepare(root)):
        print(line)


def episodes(
    data: str, ways: int, shots: int, queries: int, seed: int, root: Path | None, distort: bool, noise: float
) -> tuple[Source, Source, Source]:
    """Training, validation and test tasks."""
    from symloss.errors import TaskError
    from symloss.fewshot import Distortion, Episodes, Sinusoids
    from symloss.fewshot import glyphs as prepare
    from symloss.fewshot.folders import FOLDERS
    from symloss.tasks.architectures.sizes import unknown

    if data == "sinusoids":
        return Sinusoids(shots, seed=seed), Sinusoids(shots, seed=seed), Sinusoids(shots, 100, seed=seed)
    augment = None
    splits: ClassSplits
    if data == "glyphs":
        splits = prepare(root)
        augment = Distortion(noise=noise) if distort else Distortion(0, 1, 0, 0, noise) if noise else None
    elif data in FOLDERS:
        if root is None:
            raise TaskError(f"{data} is read from a directory of yours; give it with --data DIR")
        splits = FOLDERS[data](root)
    else:
        raise unknown("few-shot data", data, ("glyphs", "sinusoids", *FOLDERS))
    train, valid, test = (
        Episodes(part, ways, shots, queries, seed, augment=augment)
        for part in (splits.train, splits.valid, splits.test)
    )
    return train, valid, test
