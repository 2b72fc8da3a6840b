"""A Debian with a kernel of its own, under qemu: what no container can prove is tried in it."""
