# For orchestrations, when the whole platform has converged: the proxy has its PBX and its media relay.
# Not in init.sls: a proxy converges while either is down.
Kamailio reaches PBX and RTPEngine:
  voip_health.answers:
    - name: kamailio.reaches_peers
    - timeout_s: 60
