# Build RTPEngine's module on one host, for the kernel that boots next. Run by voip_stack/events/kernel.py.
Build the kernel module for the next boot:
  salt.state:
    - tgt: {{ [pillar['host']] | tojson }}
    - tgt_type: list
    - sls: rtpengine.module
    - queue: true
