Install RTPEngine:
  voip_package.installed:
    - name: rtpengine
