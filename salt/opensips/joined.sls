# For orchestrations, when the whole platform has converged: as kamailio/joined.sls.
OpenSIPS reaches PBX and RTPEngine:
  voip_health.answers:
    - name: opensips.reaches_peers
    - timeout_s: 60
