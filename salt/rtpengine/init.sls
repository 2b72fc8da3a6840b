# RTPEngine: the media relay between every pair of legs.
include:
  - rtpengine.installed
  - rtpengine.recording
  - rtpengine.configured
  - rtpengine.running
  - rtpengine.module
