# The name that people know: salt-run state.orchestrate orch.switch_proxy
include:
  - orchestrate.switch_proxy
