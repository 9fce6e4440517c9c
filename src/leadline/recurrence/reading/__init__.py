"""From a traced graph to equations: one rule for each operation."""
