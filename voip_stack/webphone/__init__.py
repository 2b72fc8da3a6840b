"""The web phone's library: one script, made of the releases that the pillar names."""
