{%- set voip = pillar['voip'] %}
{%- set spool = '/run/voip-recording' %}
{%- set store = '/var/lib/voip-stack/recordings' %}
{%- set python = '/usr/local/lib/voip-stack' %}
include:
  - base.directories
  - rtpengine.installed
  - rtpengine.spool

Make the store of sealed recordings:
  file.directory:
    - name: {{ store }}
    - user: rtpengine
    - group: rtpengine
    - mode: "0700"
    - require:
      - file: Make the state directory
      - voip_package: Install RTPEngine

Make the key that recordings are sealed for:
  voip_recordings.keyed:
    - name: /etc/voip-stack/recordings/public.key

Install the recorder:
  file.managed:
    - name: {{ python }}/recorder.py
    - source: salt://rtpengine/files/recorder.py
    - makedirs: True
    - mode: "0644"

Install the sealing of recordings:
  file.managed:
    - name: {{ python }}/voip_recording.py
    - source: salt://_utils/voip_recording.py
    - makedirs: True
    - mode: "0644"

Configure the recorder:
  voip_config.managed:
    - name: /etc/voip-stack/recordings
    - source: salt://rtpengine/files
    - files: [recorder.json]
    - mode: "0644"
    - context:
        settings:
          spool: {{ spool }}
          store: {{ store }}
          public_key: /etc/voip-stack/recordings/public.key
          relay: {{ voip.self.name }}
          retention_days: {{ voip.rtpengine.recording_retention_days }}
          orphan_s: {{ voip.rtpengine.silent_timeout_s + 60 }}

Describe the recorder's service:
  voip_config.managed:
    - name: /etc/systemd/system
    - source: salt://rtpengine/files
    - files: [voip-recorder.service]
    - mode: "0644"
    - context:
        spool: {{ spool }}
        store: {{ store }}

Run the recorder:
  voip_service.running:
    - name: voip-recorder.service
    - paths:
      - {{ python }}/recorder.py
      - {{ python }}/voip_recording.py
      - /etc/voip-stack/recordings/recorder.json
      - /etc/systemd/system/voip-recorder.service
    - watch:
      - file: Make the store of sealed recordings
      - file: Make the place of clear recordings
      - file: Install the recorder
      - file: Install the sealing of recordings
      - voip_config: Configure the recorder
      - voip_config: Describe the recorder's service
    - require:
      - voip_recordings: Make the key that recordings are sealed for
