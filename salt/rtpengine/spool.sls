# Where RTPEngine records: in memory, of its own user.
{%- set spool = '/run/voip-recording' %}
include:
  - rtpengine.installed

Keep the place of clear recordings in memory:
  voip_config.managed:
    - name: /etc/tmpfiles.d
    - source: salt://rtpengine/files
    - files: [voip-recording.conf]
    - mode: "0644"
    - context:
        spool: {{ spool }}
    - require:
      - voip_package: Install RTPEngine

Make the place of clear recordings:
  file.directory:
    - name: {{ spool }}
    - user: rtpengine
    - group: rtpengine
    - mode: "0700"
    - require:
      - voip_package: Install RTPEngine
