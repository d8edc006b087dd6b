"""A recipe's comparison: tables of ours beside the paper's numbers."""
