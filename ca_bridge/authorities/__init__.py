"""Certificate authorities behind one small port."""
