"""The demo's data: a help desk whose requests, words and catalog change from month to month."""
