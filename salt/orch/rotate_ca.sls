# The name that people know: salt-run state.orchestrate orch.rotate_ca
include:
  - orchestrate.rotate_ca
