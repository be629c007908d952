"""YAML that ships: the commented default workspace and the demo."""
