"""Macro-F1 and calibration error against figures worked out by hand."""

import pytest

from pipeline.evaluation.quality import calibration_error, macro_f1


def test_macro_f1_weighs_each_label_alike() -> None:
    # a: 3 right of 3, answered 4 times: 6/7; b: 0 right: 0
    assert macro_f1(["a", "a", "a", "b"], ["a", "a", "a", "a"]) == pytest.approx(100 * (6 / 7 + 0) / 2)
    assert macro_f1(["a", "b"], ["a", "b"]) == 100.0


def test_an_answer_that_no_row_has_counts_against_the_label_alone() -> None:
    assert macro_f1(["a", "a"], ["a", "c"]) == pytest.approx(100 * 2 / 3)


def test_the_calibration_error_is_the_gap_of_each_bin() -> None:
    # 0.9, 0.92: accuracy 1/2, mean 0.91; 0.5: accuracy 1, mean 0.5
    error = calibration_error([True, False, True], [0.9, 0.92, 0.5])
    assert error == pytest.approx(100 * (2 / 3 * abs(0.5 - 0.91) + 1 / 3 * 0.5))
    assert calibration_error([True, True], [1.0, 1.0]) == 0.0
