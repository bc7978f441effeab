"""Many videos from one table: python -m synchrorama generate --jobs jobs.csv.

A job is a row of the table. Each process keeps one pipeline and makes one video after another; what is finished is
noted in a file beside the table, so that the same command, run again, makes only what is missing or has changed. A job
that fails, or whose process dies, does not stop the others.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .content_cache import content_key
from .errors import InputError
from .profile import Profile
from .settings import Control, GenerationSettings, controls

if TYPE_CHECKING:
    from .pipeline import SynchroRaMaPipeline

FILES = ("photo", "speech", "output")  # the columns that every table has
PROCESSES = Control("Processes", "How many videos are made at once.", int, minimum=1, maximum=64, optional=True)


@dataclass(frozen=True)
class Job:
    """One video to make.

    ``output`` is the video as the table names it and ``path`` where that is; ``settings`` is None when the row cannot
    be used, and ``problem`` says why; ``key`` is the same as long as inputs and settings are.
    """

    output: str
    path: Path
    photo: Path
    speech: Path
    settings: GenerationSettings | None
    problem: str = ""
    key: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a job: a video, with its length, seed and content key, or the sentence that says why not."""

    seconds: float = 0.0
    seed: int | None = None
    video: str = ""
    warnings: tuple[str, ...] = ()
    error: str = ""


Workers = Callable[[Sequence[Job], Profile], Iterator[tuple[Job, Outcome]]]
"""Makes all jobs with a profile whose weights are here; yields each job with its outcome as soon as that is known."""


@dataclass
class Summary:
    """What became of all jobs, as objects for JSON: in ``made`` and ``skipped`` videos, in ``failed`` errors."""

    made: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)

    def to_text(self) -> str:
        counts = f"{len(self.made)} made, {len(self.skipped)} skipped, {len(self.failed)} failed"
        return "\n".join([counts, *(f"{each['output']}: {each['error']}" for each in self.failed)])

    def add(self, job: Job, outcome: Outcome) -> str:
        """Takes a finished job in and returns the line that tells of it."""
        if outcome.error:
            self.failed.append({"output": job.output, "error": outcome.error})
            return f"{job.output}: {outcome.error}"
        video = {"output": job.output, "seconds": outcome.seconds, "seed": outcome.seed}
        self.made.append({**video, "warnings": list(outcome.warnings)})
        notes = f" ({' '.join(outcome.warnings)})" if outcome.warnings else ""
        return f"{job.output}: {outcome.seconds:.1f} s, seed {outcome.seed}{notes}"

    def __len__(self) -> int:
        return len(self.made) + len(self.skipped) + len(self.failed)


def generate_many(
    table: str | os.PathLike[str],
    common: Mapping[str, Any],
    profile: Profile,
    workers: Workers,
    tell: Callable[[str], None],
) -> Summary:
    """Make the videos of a table that are not there yet.

    Args:
        table: the CSV file; see ``read_jobs``.
        common: settings for every job, unless its row says otherwise; else those that suit the profile.
        profile: what makes them; what it lacks is fetched.
        workers: what makes the videos.
        tell: called with a line for each job that is made or fails.

    Raises InputError when nothing can be made at all; what is wrong with one job is in the summary.
    """
    jobs = read_jobs(table, {**profile.defaults, **common})
    jobs = _with_keys(jobs, profile.identity)
    profile.fetch()  # all of it now, not by each worker once more
    summary = Summary()
    with contextlib.closing(Finished(Path(table))) as finished:
        made = {job.output: finished.find(job) for job in jobs}
        summary.skipped = [each for each in made.values() if each]
        wrong = [(job, Outcome(error=job.problem)) for job in jobs if job.problem]
        missing = [job for job in jobs if not made[job.output] and not job.problem]
        with contextlib.closing(workers(missing, profile)) as outcomes:
            for job, outcome in itertools.chain(wrong, outcomes if missing else ()):
                if not outcome.error:
                    finished.add(job, outcome)
                line = summary.add(job, outcome)
                tell(f"[{len(summary)}/{len(jobs)}] {line}")
    return summary


# ---------------------------------------------------------------------------------------------- the table


def read_jobs(table: str | os.PathLike[str], common: Mapping[str, Any]) -> list[Job]:
    """The jobs of a CSV file with the columns photo, speech (or recording), output and any setting.

    Relative paths start at the file's folder; an empty cell leaves a setting as it is in ``common`` or by default. A
    row that cannot be used becomes a job with a ``problem``. Raises InputError when the table as a whole is wrong.
    """
    name = Path(table).name
    common = {setting: controls()[setting].check(value) for setting, value in common.items()}
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            columns = _columns(next(reader, []), name)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error):
        raise InputError(f"The table {str(table)!r} cannot be read; check its name and save it as UTF-8.") from None
    folder = Path(table).absolute().parent
    jobs: dict[str, Job] = {}
    for line, cells in rows:
        if not any(cells):
            continue
        job = _job(dict(zip(columns, cells, strict=False)), len(cells) - len(columns), folder, common)
        if not job.output:
            raise InputError(f"Line {line} of {name} has no output; give the mp4 to write.")
        if jobs.setdefault(os.path.normcase(job.path), job) is not job:
            raise InputError(f"Line {line} of {name} has the output {job.output!r} once more; give each job its own.")
    if not jobs:
        raise InputError(f"There are no jobs in {name}; write a row for each video below the names of the columns.")
    return list(jobs.values())


def _columns(header: Sequence[str], name: str) -> list[str]:
    """The columns of a table by their own names. Raises InputError unless all are known and none is missing."""
    columns = ["speech" if each.strip() == "recording" else each.strip() for each in header]
    known = (*FILES, *controls())
    for column in columns:
        if column not in known:
            raise InputError(f"{name} has an unknown column {column!r}; the columns are {', '.join(known)}.")
        if columns.count(column) > 1:
            raise InputError(f"{name} has the column {column!r} more than once; leave one of them out.")
    for column in FILES:
        if column not in columns:
            raise InputError(f"{name} lacks the column {column!r}; name it in the first line, between commas.")
    return columns


def _job(row: Mapping[str, str], surplus: int, folder: Path, common: Mapping[str, Any]) -> Job:
    """The job of a row with ``surplus`` more cells than there are columns."""
    settings, problem = None, ""
    try:
        if surplus > 0:
            raise InputError("Its row has more cells than there are columns; put texts with commas into quotes.")
        for column in ("photo", "speech"):
            if not row.get(column):
                raise InputError(f"Its row has no {column}; name the file.")
        given = {name: _value(control, row[name]) for name, control in controls().items() if row.get(name)}
        settings = GenerationSettings.from_dict({**common, **given})
    except InputError as error:
        problem = str(error)
    output, photo, speech = (row.get(column, "") for column in ("output", "photo", "speech"))
    path, photo, speech = (_place(folder, each) for each in (output, photo, speech))
    return Job(output, path, photo, speech, settings, problem)


def _place(folder: Path, name: str) -> Path:
    return Path(os.path.abspath(folder / name))


def _value(control: Control, text: str) -> Any:
    """A cell as the type of its setting; what is not of that type stays a text, for which check has a sentence."""
    if control.kind is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    if control.kind is str:
        return text
    try:
        return float(text)
    except ValueError:
        return text


def _with_keys(jobs: Iterable[Job], weights: str) -> list[Job]:
    """The jobs with their keys; a file that many of them share is read once."""
    content = functools.cache(content_key)

    def key(job: Job) -> str:
        parts = [job.settings and job.settings.to_dict(), content(job.photo), content(job.speech), weights]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    return [replace(job, key=key(job)) for job in jobs]


# ---------------------------------------------------------------------------------------------- what is finished


class Finished:
    """The videos that were made, one JSON object a line in a file beside the table, which only grows.

    A line that a kill has torn is passed over. Raises InputError when the file cannot be written.
    """

    def __init__(self, table: Path) -> None:
        self._folder = table.absolute().parent
        self._made: dict[Path, dict[str, Any]] = {}
        try:
            self._file = open(f"{table}.done.jsonl", "a+", encoding="utf-8", errors="replace")  # noqa: SIM115 - close()
        except OSError as error:
            raise InputError(
                f"What is finished cannot be noted beside {table.name} ({error.strerror}); put it where you may write."
            ) from None
        self._file.seek(0)
        text = self._file.read()
        for line in text.splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError):
                made = json.loads(line)
                self._made[_place(self._folder, made["output"])] = made
        if text and not text.endswith("\n"):
            self._file.write("\n")

    def find(self, job: Job) -> dict[str, Any] | None:
        """What is known of a job's video, if it is there, unchanged, and of the same inputs and settings."""
        made = self._made.get(job.path, {})
        if job.problem or made.get("key") != job.key or made.get("video") != content_key(job.path):
            return None
        return {"output": job.output, "seconds": made.get("seconds"), "seed": made.get("seed")}

    def add(self, job: Job, outcome: Outcome) -> None:
        made = {"output": job.output, "key": job.key, "seconds": outcome.seconds, "seed": outcome.seed}
        self._file.write(json.dumps({**made, "video": outcome.video}) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


# ---------------------------------------------------------------------------------------------- one job


class Maker:
    """One pipeline, which is kept for one job after another, and one thread."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile

    @cached_property
    def _pipeline(self) -> SynchroRaMaPipeline:
        import cv2
        import torch

        from .pipeline import SynchroRaMaPipeline

        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        return SynchroRaMaPipeline(self._profile)

    def make(self, job: Job, should_stop: Callable[[], bool] | None = None) -> Outcome:
        """Make a video. No exception but those that end the process comes out of it."""
        from .motion import FPS

        try:
            result = self._pipeline(job.photo, job.speech, job.settings, should_stop=should_stop)
            result.save(job.path)
        except InputError as error:
            return Outcome(error=str(error))
        except Exception as error:
            return Outcome(error=f"{type(error).__name__}: {error}".splitlines()[0][:200])
        return Outcome(len(result) / FPS, result.settings.seed, content_key(job.path), tuple(result.warnings))
