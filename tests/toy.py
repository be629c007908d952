"""A toy stream that any classifier can learn, and a random BERT of two layers that is small enough to learn it."""

import itertools
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

LAUNCH_WORDS = {
    "billing": ("invoice", "charge", "fee", "payment"),
    "delivery": ("parcel", "courier", "shipping", "tracking"),
    "login": ("password", "account", "signin", "locked"),
    "refund": ("return", "money", "back", "reimburse"),
    "repair": ("broken", "screen", "cracked", "fix"),
    "stock": ("available", "sizes", "colour", "sold"),
}
NEW_WORDS = {
    "2026-02": {"roaming": ("abroad", "travel", "country", "border")},
    "2026-03": {"insurance": ("cover", "policy", "claim", "damage")},
}
TEMPLATES = (
    "please help with {} {}",
    "my {} {} today",
    "question about the {} and {}",
    "i have a {} {} problem",
    "tell me about {} or {}",
    "why is there a {} {}",
)
MONTHS = ("2026-01", "2026-02", "2026-03")
GOLDEN_ROWS = 60
Row = dict[str, str]

CONFIG = """
version: 1
model: {base: base, max_length: 16}
ingest: {validation: 0.1}
fisher: {estimator: exact, samples: 40}
ewc: {lambda: 0.1}
replay: {least_steps: 0}
train: {layers: all, learning_rate: 1.0e-3, head_learning_rate: 3.0e-3, epochs: 4, batch_size: 16}
launch: {layers: all, learning_rate: 3.0e-3, head_learning_rate: 3.0e-3, epochs: 7, batch_size: 16}
gate: {max_drop: 100, min_gain: -100, min_rows: 50}
"""
"""A gate that lets everything pass: what the toy model forgets must not decide what a test sees."""

REFUSE = ("-o", "gate.min_gain=101")
"""No candidate gains more than 100 points."""


@dataclass(frozen=True)
class ToyStream:
    """Launch rows; feedback of 2026-02 and 2026-03; golden rows of all three months."""

    launch: list[Row]
    feedback: Mapping[str, list[Row]]
    golden: Mapping[str, list[Row]]


def toy_stream() -> ToyStream:
    """The rows, the same in every call; no text occurs twice."""
    texts = {label: iter(_texts(label, words)) for label, words in _all_words().items()}

    def rows(name: str, counts: Mapping[str, int]) -> list[Row]:
        labelled = [(label, next(texts[label])) for label, n in counts.items() for _ in range(n)]
        return [{"id": f"{name}-{i}", "text": t, "label": label} for i, (label, t) in enumerate(labelled)]

    launch = rows("launch", dict.fromkeys(LAUNCH_WORDS, 10))
    golden = {"2026-01": rows("golden-2026-01", dict.fromkeys(LAUNCH_WORDS, 10))}
    feedback: dict[str, list[Row]] = {}
    known = list(LAUNCH_WORDS)
    for month, new in NEW_WORDS.items():
        catalog = rows(f"catalog-{month}", dict.fromkeys(new, 12))
        correction = rows(f"correction-{month}", {"billing": 5, "login": 4})
        escalation = rows(f"escalation-{month}", {"refund": 5, "stock": 4})
        of_kind = {"catalog": catalog, "correction": correction, "escalation": escalation}
        feedback[month] = [
            {**row, "kind": kind, "created_at": f"{month}-{day % 28 + 1:02d}T12:00:00Z"}
            for kind, members in of_kind.items()
            for day, row in enumerate(members)
        ]
        golden[month] = rows(f"golden-{month}", dict.fromkeys(known, 8) | dict.fromkeys(new, 12))
        for row in golden[month]:
            row["slice"] = "new" if row["label"] in new else "settled"
    return ToyStream(launch, feedback, golden)


def _all_words() -> Mapping[str, tuple[str, ...]]:
    return LAUNCH_WORDS | {label: words for new in NEW_WORDS.values() for label, words in new.items()}


def _texts(label: str, words: Sequence[str]) -> list[str]:
    pairs = itertools.permutations(words, 2)
    texts = [template.format(*pair) for pair in pairs for template in TEMPLATES]
    Random(label).shuffle(texts)
    return texts


def write_jsonl(file: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write rows as JSONL, folders on the way included."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def read_jsonl(file: Path) -> list[dict[str, object]]:
    """All rows of a JSONL file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def write_workspace(folder: Path, base: Path) -> Path:
    """A workspace with the toy stream and the tiny base model in it, ready for launch."""
    stream = toy_stream()
    for name in ("runs", "feedback", "golden"):
        (folder / name).mkdir(parents=True)
    (folder / "retrain.yaml").write_text(CONFIG, encoding="utf-8")
    write_jsonl(folder / "launch.jsonl", stream.launch)
    for month, rows in stream.feedback.items():
        write_jsonl(folder / "feedback" / f"{month}.jsonl", rows)
    for month, rows in stream.golden.items():
        write_jsonl(folder / "golden" / f"{month}.jsonl", rows)
    shutil.copytree(base, folder / "base")
    return folder


def write_base(folder: Path, *, dropout: float = 0.1) -> Path:
    """A BERT encoder (hidden 32, 2 layers, 2 heads) and its WordPiece tokenizer.

    Its weights are random, but words of one topic share a direction, as pretraining would have it.
    """
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = sorted({word for rows in _everything() for row in rows for word in row["text"].split()})
    letters = [*"abcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz")]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    names = list(dict.fromkeys([*special, *words, *letters]))
    tokenizer = Tokenizer(
        models.WordPiece(dict(zip(names, range(len(names)), strict=True)), unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=32,
        model_input_names=["input_ids", "attention_mask"],
    )
    folder.mkdir(parents=True)
    fast.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(names),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        pad_token_id=0,
        initializer_range=0.15,
    )
    torch.manual_seed(0)
    model = BertModel(config)
    embeddings = model.embeddings.word_embeddings.weight.data
    topics = {word: topic for topic, words in _all_words().items() for word in words}
    directions = {topic: torch.randn(config.hidden_size) for topic in _all_words()}
    for index, name in enumerate(names):
        embeddings[index] = (
            directions[topics[name]] if name in topics else torch.randn(config.hidden_size) * 0.1
        )
    model.embeddings.position_embeddings.weight.data.zero_()
    model.save_pretrained(folder)
    return folder


def _everything() -> list[list[Row]]:
    stream = toy_stream()
    return [stream.launch, *stream.feedback.values(), *stream.golden.values()]
