"""The command `remediate`: one file per verb. Verbs wire; what they do lives elsewhere."""
