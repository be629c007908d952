"""`retrain predict`: labels and confidences for lines of text."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests import toy
from tests.conftest import Done, call


def answers(done: Done) -> list[dict[str, Any]]:
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


def test_lines_of_a_file_come_back_labelled_in_their_order(launched: Path, tmp_path: Path) -> None:
    rows = toy.toy_stream().golden["2026-01"]
    file = tmp_path / "lines.txt"
    file.write_text("\n".join(row["text"] for row in rows) + "\n\n   \n")
    said = answers(call("predict", file, "-w", launched))
    assert [answer["text"] for answer in said] == [row["text"] for row in rows]
    assert sum(a["label"] == row["label"] for a, row in zip(said, rows, strict=True)) >= 54
    assert all(0.0 < answer["confidence"] <= 1.0 for answer in said)
    assert all(answer.keys() == {"text", "label", "confidence"} for answer in said)


def test_without_a_file_lines_are_read_from_stdin(launched: Path) -> None:
    said = answers(
        call("predict", "-w", launched, stdin="my password account today\nmy parcel courier today\n")
    )
    assert [answer["label"] for answer in said] == ["login", "delivery"]


def test_a_line_alone_gets_what_it_gets_among_others(launched: Path) -> None:
    lines = [row["text"] for row in toy.toy_stream().golden["2026-01"][::7]]
    together = answers(call("predict", "-w", launched, stdin="\n".join(lines)))
    alone = [answers(call("predict", "-w", launched, stdin=line))[0] for line in lines]
    assert [a["label"] for a in alone] == [a["label"] for a in together]
    assert [a["confidence"] for a in alone] == pytest.approx([a["confidence"] for a in together], abs=2e-6)


def test_another_checkpoint_than_the_champion_can_be_named(promoted: Path) -> None:
    line = toy.toy_stream().golden["2026-02"][-1]["text"]
    assert answers(call("predict", "-w", promoted, stdin=line))[0]["label"] == "roaming"
    old = answers(call("predict", "--checkpoint", "2026-01", "-w", promoted, stdin=line))
    assert old[0]["label"] != "roaming"


def test_a_checkpoints_folder_is_enough_outside_of_a_workspace(
    launched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = launched / "runs/2026-01/001/finetune/checkpoint"
    said = answers(call("predict", "--checkpoint", folder, stdin="my password account today"))
    assert said[0]["label"] == "login"


def test_no_lines_give_no_lines(launched: Path) -> None:
    assert answers(call("predict", "-w", launched, stdin="\n\n")) == []


def test_a_very_long_line_is_cut_not_refused(launched: Path) -> None:
    assert len(answers(call("predict", "-w", launched, stdin="my password " * 3000))) == 1


def test_text_that_is_no_utf8_is_bad_data(launched: Path, tmp_path: Path) -> None:
    file = tmp_path / "lines.txt"
    file.write_bytes(b"caf\xe9\n")
    done = call("predict", file, "-w", launched)
    assert done.code == 65
    assert f"{file}: expected UTF-8 text" in done.err


def test_a_file_that_does_not_exist_is_no_input(launched: Path, tmp_path: Path) -> None:
    done = call("predict", tmp_path / "absent.txt", "-w", launched)
    assert (done.code, done.err) == (66, f"retrain: {tmp_path / 'absent.txt'}: no such file\n")


def test_control_characters_are_escaped_in_json(launched: Path) -> None:
    done = call("predict", "-w", launched, stdin="my \x1b[31mpassword")
    assert "\x1b" not in done.out
    assert answers(done)[0]["text"] == "my \x1b[31mpassword"


def test_only_a_line_feed_ends_a_line_and_nothing_steers_the_terminal(launched: Path) -> None:
    done = call(
        "predict", "-w", launched, stdin="my password\u2028account\u0085to\x0bday\u202e\u009b\r\nmy parcel\n"
    )
    said = answers(done)
    assert [answer["text"] for answer in said] == [
        "my password\u2028account\u0085to\x0bday\u202e\u009b",
        "my parcel",
    ]
    assert all(character.isprintable() or character == "\n" for character in done.out)
