# The kernel module comes last: calls are served in user space while the compiler runs.
include:
  - rtpengine.running

Forward RTP in the kernel:
  rtpengine_module.built:
    - require:
      - voip_package: Install RTPEngine
