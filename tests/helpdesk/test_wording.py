"""Wordings become messages: choices are made, slots are filled, some are held back for golden sets."""

from random import Random

from pipeline.helpdesk.wording import message, trainable, vocabulary


def test_choices_are_made_and_slots_filled() -> None:
    words = vocabulary()
    texts = {message("reset (my|the) {app} login", words, Random(seed)) for seed in range(50)}
    assert len(texts) > 10
    assert not any(set("(){}|") & set(text) for text in texts)


def test_every_slot_of_every_wording_is_known() -> None:
    words = vocabulary()
    lists = [*words.launch.values()]
    for month in words.months.values():
        lists += [*month.new.values(), *month.drifted.values()]
    for wordings in lists:
        for wording in wordings:
            text = message(wording, words, Random(0))
            assert text
            assert not set("(){}|") & set(text), wording


def test_every_fifth_wording_is_kept_for_golden_sets() -> None:
    assert trainable(["a", "b", "c", "d", "e", "f", "g"]) == ["a", "b", "c", "d", "f", "g"]


def test_some_messages_are_mistyped() -> None:
    words = vocabulary()
    texts = [message("password", words, Random(seed)).casefold() for seed in range(300)]
    mistyped = [text for text in texts if "password" not in text]
    assert 10 < len(mistyped) < 80


def test_every_drifted_or_confused_label_exists_since_launch() -> None:
    words = vocabulary()
    for month in words.months.values():
        assert set(month.drifted) <= set(words.launch)
        assert set(month.drifted) <= set(month.confused) <= set(words.launch)
        assert set(month.confused.values()) <= set(words.launch)
