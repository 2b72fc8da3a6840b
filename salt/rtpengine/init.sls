# RTPEngine: the media relay between every pair of legs.
include:
  - rtpengine.installed
  - rtpengine.configured
  - rtpengine.running
  - rtpengine.module
