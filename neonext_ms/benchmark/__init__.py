"""How fast things are, beside their competitors in the same run."""
