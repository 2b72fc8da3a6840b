# What every host has, whatever its role.
include:
  - base.names
  - base.directories
  - base.journal
  - base.upgrades
