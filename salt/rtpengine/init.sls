# RTPEngine: the media relay between every pair of legs. Where relays float (pillar topology.yaml: relay), this host
# may take over another's calls too.
include:
  - rtpengine.installed
  - rtpengine.recording
  - rtpengine.link
  - rtpengine.configured
  - rtpengine.running
  - rtpengine.failover
  - rtpengine.answering
  - rtpengine.module
