"""Golden sets, scorecards, tests of significance and the gate: pure functions, no file is opened in here."""
