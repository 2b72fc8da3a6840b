{%- set voip = pillar['voip'] %}
include:
  - asterisk.installed
  - asterisk.certs

# What takes effect at a restart.
Configure Asterisk:
  voip_config.managed:
    - name: /etc/asterisk/voip
    - source: salt://asterisk/files
    - files:
      - asterisk.conf
      - modules.conf
      - logger.conf
      - rtp.conf
      - http.conf
      - ari.conf
      - manager.conf
      - pjsip.conf
      - reload.conf: empty.conf
      {%- for name in ('acl', 'ccss', 'cdr', 'cel', 'features', 'indications', 'pjproject', 'stasis', 'udptl', 'websocket_client') %}
      - {{ name }}.conf: empty.conf
      {%- endfor %}
    - check: asterisk.check_config
    - group: asterisk
    - secrets:
        ami: hosts/{{ voip.self.name }}/ami
        ari: hosts/{{ voip.self.name }}/ari
    - context:
        directory: /etc/asterisk/voip
        own: {{ voip.self | tojson }}
        site: {{ voip.site | tojson }}
        ports: {{ voip.ports.asterisk | tojson }}
        settings: {{ voip.asterisk | tojson }}
        codecs: {{ salt['asterisk.plan']().codecs | tojson }}
        managers: {{ (voip.peers.control + [voip.self.addresses.internal]) | tojson }}
    - require:
      - voip_package: Install Asterisk
      - voip_certificate: Certify Asterisk

# What a reload takes in while calls go on.
Configure Asterisk's trunks and dialplan:
  voip_config.managed:
    - name: /etc/asterisk/voip
    - source: salt://asterisk/files
    - files: [pjsip_trunks.conf, extensions.conf, voicemail.conf]
    - check: asterisk.check_config
    - group: asterisk
    - context:
        own: {{ voip.self | tojson }}
        site: {{ voip.site | tojson }}
        settings: {{ voip.asterisk | tojson }}
        routing: {{ voip.routing | tojson }}
        plan: {{ salt['asterisk.plan']() | tojson }}
    - require:
      - voip_config: Configure Asterisk

# Of the messages in a box's folders; what its owner has recorded as a greeting lies beside those and stays.
Forget old voicemail:
  file.managed:
    - name: /etc/tmpfiles.d/voip-voicemail.conf
    - contents: |
        # Written by Salt (salt/asterisk). By the time of recording, whether heard or not.
        e /var/spool/asterisk/voicemail/default/*/* - - - m:{{ voip.asterisk.voicemail.keep_days }}d
    - mode: "0644"
