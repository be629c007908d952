"""What the files of an attempt are called, and how a stage's record names what it was made from."""

# ingest/
TRAIN_FILE, VALIDATION_FILE = "train.parquet", "validation.parquet"
LABELS_FILE, REJECTED_FILE, SUMMARY_FILE = "labels.json", "rejected.jsonl", "summary.json"
OWN_GOLDEN_FILE = "golden.jsonl"
"""What `ingest.golden_fraction` sets aside."""

# fisher/
FISHER_RECORD_FILE = "fisher.json"

# finetune/
CHECKPOINT_FOLDER, METRICS_FILE, DELTAS_FILE = "checkpoint", "metrics.jsonl", "deltas.json"
REPLAY_FILE, PENALTY_FILE, CORRECTIONS_FILE = "replay.parquet", "penalty.json", "corrections.json"

# eval/
SCORECARD_FILE, GATE_FILE, PREDICTIONS_FILE = "scorecard.json", "gate.json", "predictions.parquet"

FEEDBACK_INPUT, BASE_INPUT, ADOPTED_INPUT = "feedback ", "base checkpoint", "adopted checkpoint"
CHANGES_INPUT, REVIEWED_INPUT = "label changes", "review of "
"""How ingest's record names inputs: each file of feedback after this word, a month's review, checkpoints, and golden sets by path."""


def is_golden_input(name: str) -> bool:
    """Whether an input that ingest recorded is a golden set."""
    return name not in (BASE_INPUT, ADOPTED_INPUT, CHANGES_INPUT) and not name.startswith(
        (FEEDBACK_INPUT, REVIEWED_INPUT)
    )
