# The name that people know: salt-run state.orchestrate orch.rotate
include:
  - orchestrate.rotate
