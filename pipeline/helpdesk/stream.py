"""The help desk's rows: launch data, three months of feedback, and a golden set for every month.

The stream is made so that a model trained on a month's feedback alone forgets: feedback is about the
month's new catalog entries and a few intents that were said in new words or taken for a neighbour, and
hardly about the many others that still have to be recognised.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from random import Random

from pipeline.evaluation.golden import GoldenRow
from pipeline.helpdesk.wording import MonthWords, Vocabulary, message, trainable, vocabulary
from pipeline.months import Month
from pipeline.normal_text import normalise

_LAUNCH_MONTH = Month(2026, 1)
_ATTEMPTS = 1_000


@dataclass(frozen=True, slots=True)
class LaunchRow:
    """One row that the first model is trained on."""

    id: str
    text: str
    label: str


@dataclass(frozen=True, slots=True)
class FeedbackRow:
    """One labelled row of a month: `created_at` is ISO 8601 in UTC, `kind` correction, escalation or catalog.

    `predicted` is what the model then in service said: wrong in a correction, the label in an
    escalation, None in a catalog row.
    """

    id: str
    created_at: str
    kind: str
    text: str
    label: str
    predicted: str | None
    user: str


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many rows the stream has."""

    launch: int = 16
    """Launch rows per launch intent."""
    launch_golden: int = 6
    """Golden rows of the launch month per launch intent."""
    settled: int = 4
    """Golden rows of each later month per launch intent, said as at launch."""
    drifted: int = 12
    """Golden rows of each later month per intent with new wordings."""
    new: int = 10
    """Golden rows of each later month per new label."""
    catalog: int = 24
    """Feedback rows per new label."""
    corrections: int = 10
    """Feedback rows per intent that the model takes for another one."""
    escalations: int = 4
    """Feedback rows per intent with new wordings that the model got right, but not surely."""
    other_escalations: int = 24
    """Feedback rows of a month about any launch intent that the model got right, but not surely."""


@dataclass(frozen=True)
class HelpdeskStream:
    """The whole stream; golden sets are there for the launch month and every feedback month.

    A golden row's slice is settled (a launch label, said as at launch), drifted (a launch label in that
    month's words) or new (a label of that month's catalog rows).
    """

    launch_month: Month
    launch: tuple[LaunchRow, ...]
    feedback: Mapping[Month, tuple[FeedbackRow, ...]]
    golden: Mapping[Month, tuple[GoldenRow, ...]]


def helpdesk_stream(seed: int = 0, *, sizes: Sizes | None = None) -> HelpdeskStream:
    """Make the stream; equal arguments give equal rows in every process.

    No normalised text occurs twice, so no golden text is in launch or feedback.

    Args:
        seed: of every random choice.
        sizes: how many rows of each sort; None for the demo's.

    Raises:
        ValueError: when more different messages are asked for than the vocabulary can say.
    """
    sizes, words, writer = sizes or Sizes(), vocabulary(), _Writer(vocabulary())
    golden: dict[Month, tuple[GoldenRow, ...]] = {}
    feedback: dict[Month, tuple[FeedbackRow, ...]] = {}
    random = Random(f"{seed}/launch")
    golden[_LAUNCH_MONTH] = _golden_rows(writer, random, words.launch, "settled", sizes.launch_golden)
    launch = [
        LaunchRow(_row_id("launch", text), text, label)
        for label, wordings in words.launch.items()
        for text in writer.texts(trainable(wordings), sizes.launch, random)
    ]
    random.shuffle(launch)
    for name, month_words in words.months.items():
        month = Month.parse(name)
        random = Random(f"{seed}/{name}")
        golden[month] = (
            *_golden_rows(writer, random, words.launch, "settled", sizes.settled),
            *_golden_rows(writer, random, month_words.drifted, "drifted", sizes.drifted),
            *_golden_rows(writer, random, month_words.new, "new", sizes.new),
        )
        feedback[month] = _feedback_rows(writer, random, month, month_words, sizes)
    return HelpdeskStream(_LAUNCH_MONTH, tuple(launch), feedback, golden)


class _Writer:
    """Writes messages and never the same one twice, as compared with golden rows."""

    def __init__(self, words: Vocabulary) -> None:
        self.words = words
        self._written: set[str] = set()

    def texts(self, wordings: Sequence[str], count: int, random: Random) -> list[str]:
        """`count` new messages, going through the wordings in turn."""
        found: list[str] = []
        order = random.sample(wordings, len(wordings))
        for attempt in range(_ATTEMPTS + count):
            if len(found) == count:
                return found
            text = message(order[attempt % len(order)], self.words, random)
            key = normalise(text)
            if key not in self._written:
                self._written.add(key)
                found.append(text)
        raise ValueError(
            f"{count} different messages were asked for, {len(found)} found: {wordings[0]!r}, ..."
        )


def _golden_rows(
    writer: _Writer, random: Random, wordings: Mapping[str, Sequence[str]], slice_name: str, count: int
) -> tuple[GoldenRow, ...]:
    return tuple(
        GoldenRow(_row_id("golden", text), text, label, slice_name)
        for label, said in wordings.items()
        for text in writer.texts(said, count, random)
    )


def _feedback_rows(
    writer: _Writer, random: Random, month: Month, words: MonthWords, sizes: Sizes
) -> tuple[FeedbackRow, ...]:
    launch = writer.words.launch
    said: list[tuple[str, str, str, str | None]] = []  # kind, text, label, predicted
    for label, wordings in words.new.items():
        texts = writer.texts(trainable(wordings), sizes.catalog, random)
        said.extend(("catalog", text, label, None) for text in texts)
    for label, predicted in words.confused.items():
        texts = writer.texts(trainable(words.drifted.get(label, launch[label])), sizes.corrections, random)
        said.extend(("correction", text, label, predicted) for text in texts)
    for label, wordings in words.drifted.items():
        texts = writer.texts(trainable(wordings), sizes.escalations, random)
        said.extend(("escalation", text, label, label) for text in texts)
    for label in random.choices(list(launch), k=sizes.other_escalations):
        (text,) = writer.texts(trainable(launch[label]), 1, random)
        said.append(("escalation", text, label, label))
    random.shuffle(said)
    seconds = int((month.next.start - month.start).total_seconds())
    moments = sorted(random.randrange(seconds) for _ in said)
    return tuple(
        FeedbackRow(
            id=_row_id(kind, text),
            created_at=(month.start + timedelta(seconds=moment)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            kind=kind,
            text=text,
            label=label,
            predicted=predicted,
            user=f"u{random.randrange(400):04d}",
        )
        for moment, (kind, text, label, predicted) in zip(moments, said, strict=True)
    )


def _row_id(purpose: str, text: str) -> str:
    return sha256(f"helpdesk\0{purpose}\0{text}".encode()).hexdigest()[:16]
