{%- set voip = pillar['voip'] %}
include:
  - webphone.installed
  - webphone.certs

Lay out the web phone's page:
  file.recurse:
    - name: /usr/local/share/voip-webphone
    - source: salt://webphone/files/page
    - dir_mode: "0755"
    - file_mode: "0644"

# Made by ./voip up of the releases that the pillar names.
Lay out the web phone's library:
  file.managed:
    - name: /usr/local/share/voip-webphone/jssip.js
    - source: salt://webphone/jssip.js?saltenv=packages
    - mode: "0644"
    - require:
      - file: Lay out the web phone's page

Tell the page its proxies:
  voip_config.managed:
    - name: /usr/local/share/voip-webphone
    - source: salt://webphone/files
    - files: [settings.json]
    - mode: "0644"
    - context:
        settings: {{ salt['webphone.settings']() | tojson }}
    - require:
      - file: Lay out the web phone's page

# Tried by the server's own parser before it replaces what runs.
Configure the web phone's server:
  voip_config.managed:
    - name: /etc/voip-webphone
    - source: salt://webphone/files
    - files: [nginx.conf]
    - check: webphone.check_config
    - mode: "0644"
    - context:
        addresses: {{ salt['webphone.addresses']() | tojson }}
        port: {{ voip.ports.webphone.https }}
        policy: {{ salt['webphone.content_policy']() | tojson }}
    - require:
      - voip_package: Install the web phone's server
      - voip_certificate: Give the web phone its certificate

Describe the web phone's service:
  voip_config.managed:
    - name: /etc/systemd/system
    - source: salt://webphone/files
    - files: [voip-webphone.service]
    - mode: "0644"
    - require:
      - voip_package: Install the web phone's server
