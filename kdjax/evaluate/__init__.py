"""How good a network is, and what to show of it: metrics, the evaluator, the report."""
