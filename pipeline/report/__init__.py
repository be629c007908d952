"""Pictures and the one-file page about an attempt: values in, text or image bytes out; no file is written here."""
