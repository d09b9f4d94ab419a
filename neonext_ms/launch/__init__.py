"""Starts the ranks of a job on this node, follows them, and ends them all when one fails."""
