"""Users' own tables, as people export them: read with suspicion, every line accounted for."""
