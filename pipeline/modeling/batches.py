"""Texts to token ids once, and token ids to padded batches of like length."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from pipeline.ewc.fisher.batching import batches_by_length

MOST_TOKENS = 32 * 64
"""Tokens of a Fisher batch, padding included, where memory allows it."""
IGNORED = -100
"""The target of a token that is not scored."""
Encoded = list[int]
"""The token ids of one text, with special tokens, without padding."""


@dataclass(frozen=True)
class Examples:
    """Tokenised rows: ids decide the order of training, `encoded` is what is read, `targets` what is to be said.

    A row's target is the id of its label alone; or, `per_token`, an id for each of its tokens, -100 where none is scored.
    """

    ids: tuple[str, ...]
    encoded: tuple[Encoded, ...]
    targets: tuple[tuple[int, ...], ...]
    per_token: bool = False

    @classmethod
    def of_labels(cls, ids: Iterable[str], encoded: Iterable[Encoded], label_ids: Iterable[int]) -> Examples:
        """Rows of one label each."""
        return cls(tuple(ids), tuple(encoded), tuple((label_id,) for label_id in label_ids))

    @property
    def label_ids(self) -> tuple[int, ...]:
        """The label of each row, of rows that have one each."""
        return tuple(label_id for (label_id,) in self.targets)

    def __len__(self) -> int:
        return len(self.ids)

    def __add__(self, other: Examples) -> Examples:
        return Examples(
            self.ids + other.ids,
            self.encoded + other.encoded,
            self.targets + other.targets,
            self.per_token or other.per_token,
        )

    def at(self, positions: Sequence[int]) -> Examples:
        """The rows at some positions, in their order."""
        return Examples(
            tuple(self.ids[place] for place in positions),
            tuple(self.encoded[place] for place in positions),
            tuple(self.targets[place] for place in positions),
            self.per_token,
        )

    def again(self, counts: Sequence[int]) -> tuple[Examples, list[int]]:
        """Rows to have more than once: each as often as its count, under ids of its own, and their positions."""
        places = [(index, time) for index, count in enumerate(counts) for time in range(count)]
        positions = [index for index, _ in places]
        ids = tuple(f"{self.ids[index]}\0{time}" for index, time in places)
        return replace(self.at(positions), ids=ids), positions


def encode(tokenizer: Any, texts: Sequence[str], max_length: int | None) -> list[Encoded]:
    """Token ids of each text, cut to `max_length` tokens; None for whole texts.

    Where the tokenizer is set to `split_special_tokens`, as a classifier's is, no text holds a special token but those
    that frame it: what a customer writes is text. `</s>` is then read as its letters; where the vocabulary itself knows
    it as a piece, as T5's does, it is left out.
    """
    if not texts:
        return []
    limits = {"truncation": True, "max_length": max_length} if max_length is not None else {}
    found = tokenizer(list(texts), padding=False, return_attention_mask=False, **limits)
    encoded = [list(ids) for ids in found["input_ids"]]
    return (
        _without_markers(tokenizer, encoded) if getattr(tokenizer, "split_special_tokens", False) else encoded
    )


def markers(tokenizer: Any) -> dict[int, str]:
    """A tokenizer's special tokens, id to text, without the unknown token and those that are ordinary characters."""
    named = zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True)
    return {number: text for number, text in named if number != tokenizer.unk_token_id and len(text) > 1}


def _without_markers(tokenizer: Any, encoded: list[Encoded]) -> list[Encoded]:
    special = markers(tokenizer).keys()
    framed = [number in special for number in tokenizer("a", return_attention_mask=False)["input_ids"]]
    before = framed.index(False) if False in framed else len(framed)
    after = framed[::-1].index(False) if False in framed else 0
    rows = []
    for ids in encoded:
        body = ids[before : len(ids) - after]
        if special.isdisjoint(body):
            rows.append(ids)
        else:
            left = [number for number in body if number not in special]
            rows.append(ids[:before] + left + ids[len(ids) - after :] or ids)
    return rows


_NO_PADDING = "retrain_takes_no_padding"


def pad_nothing(tokenizer: Any) -> None:
    """Have the tokenizer's texts batched by equal length, as its model's answers depend on padding.

    Source of such models: FNet mixes tokens by a Fourier transform over the whole length (Lee-Thorp et al. 2021).
    """
    setattr(tokenizer, _NO_PADDING, True)


def takes_no_padding(tokenizer: Any) -> bool:
    """Whether answers, Fisher and features are computed in batches of equal length."""
    return bool(getattr(tokenizer, _NO_PADDING, False))


def pad(tokenizer: Any, rows: Sequence[Encoded]) -> dict[str, Tensor]:
    """`input_ids` and `attention_mask`, both int64 [B, T], T the longest row, padded on the right."""
    length = max(len(row) for row in rows)
    ids = torch.full((len(rows), length), tokenizer.pad_token_id, dtype=torch.int64)
    mask = torch.zeros((len(rows), length), dtype=torch.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row, dtype=torch.int64)
        mask[index, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def padded_targets(targets: Sequence[Sequence[int]], *, per_token: bool) -> Tensor:
    """Targets of some rows, int64: [B] of one label each, or [B, T], -100 where a row has ended."""
    if not per_token:
        return torch.tensor([label_id for (label_id,) in targets], dtype=torch.int64)
    padded = torch.full((len(targets), max(map(len, targets))), IGNORED, dtype=torch.int64)
    for index, ids in enumerate(targets):
        padded[index, : len(ids)] = torch.tensor(ids, dtype=torch.int64)
    return padded


def padded_batches(
    tokenizer: Any, rows: Sequence[Encoded], *, batch_size: int = 64
) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
    """Batches of rows of like length with the rows' positions, so that little is padding; see `takes_no_padding`."""
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    groups = [order]
    if takes_no_padding(tokenizer):
        groups = [list(alike) for _, alike in groupby(order, key=lambda index: len(rows[index]))]
    for group in groups:
        for start in range(0, len(group), batch_size):
            positions = group[start : start + batch_size]
            yield positions, pad(tokenizer, [rows[position] for position in positions])


def keyed_batches(
    tokenizer: Any, examples: Examples, *, seed: int, max_tokens: int = MOST_TOKENS
) -> Iterator[dict[str, Tensor]]:
    """Padded batches of like length, in seeded order, with what the Fisher needs of each example.

    `labels` are the targets, [B] or [B, T]; `example_keys` [B] come from the rows' ids, so that a random draw belongs to
    its row wherever it stands. A batch holds at most `max_tokens` tokens with padding.
    """
    lengths = [len(ids) for ids in examples.encoded]
    equal = takes_no_padding(tokenizer)
    for positions in batches_by_length(lengths, max_tokens=max_tokens, seed=seed, equal=equal):
        batch = pad(tokenizer, [examples.encoded[p] for p in positions])
        keys = [int.from_bytes(hashlib.sha256(examples.ids[p].encode()).digest()[:7]) for p in positions]
        yield {
            **batch,
            "labels": padded_targets([examples.targets[p] for p in positions], per_token=examples.per_token),
            "example_keys": torch.tensor(keys, dtype=torch.int64),
        }
