"""Parts of docs/ that are generated from the pillar."""
