"""The verb train without the stores of a project: into a folder, or as SageMaker's contract asks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from trimtab import settings
from trimtab.app.delivery import sagemaker_training
from trimtab.app.delivery.lone_training import LoneTraining, Trained, train_alone
from trimtab.cli.context import Context, option_time
from trimtab.cli.terminal import say
from trimtab.errors import TrimtabError, UsageError
from trimtab.gates.report import refuse
from trimtab.gates.verdict_files import markdown


def sagemaker_folder() -> Path | None:
    """Return the folder of SageMaker's files when SageMaker runs this process for a training."""
    read = settings.read()
    at_work = read.container == "sagemaker" and sagemaker_training.is_training(read.sagemaker_folder)
    return read.sagemaker_folder if at_work else None


def train_for_sagemaker(context: Context, base: Path) -> None:
    """Run a training job. Raises what fails it, and writes that into the file `failure` first."""
    try:
        job = sagemaker_training.read_job(base)
        trained = train_alone(job.project or context.project, context.env, job.training)
        _tell(trained)
        for line in sagemaker_training.metric_lines(trained.run.metrics, passed=trained.bundle is not None):
            typer.echo(line)
        if job.refuse:
            refuse(trained.report)
    except TrimtabError as error:
        sagemaker_training.write_failure(base, str(error))
        raise
    except Exception as error:  # a border: SageMaker shows the file, and the command prints the rest
        sagemaker_training.write_failure(base, f"{type(error).__name__}: {error}")
        raise


def train_into(context: Context, folder: Path, data: Sequence[str], as_of: str | None) -> None:
    """Train into a folder. Raises GateRefused when a gate failed; then there is no bundle."""
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"--into {folder}: the folder is not empty")
    channels = {}
    for each in data:
        name, equals, path = each.partition("=")
        if not equals or not Path(path).is_dir():
            raise UsageError(f"--data {each}: expected SOURCE=FOLDER with a folder that exists")
        channels[name] = Path(path)
    job = LoneTraining(
        bundle=folder / "bundle",
        report=folder,
        channels=channels,
        model=context.model,
        as_of=option_time("--as-of", as_of),
    )
    trained = train_alone(context.project, context.env, job)
    context.show(trained.report, lambda _: _tell(trained))
    refuse(trained.report)


def _tell(trained: Trained) -> None:
    say(f"train     {trained.model}: {trained.dataset.rows:,} rows, run {trained.run.id[:8]}")
    if not trained.compared:
        say("evaluate  no champion in these stores: the gates compare with none")
    typer.echo(markdown(trained.report))
    if trained.bundle is not None:
        say(f"register  bundle sha256 {trained.bundle.digest}")
