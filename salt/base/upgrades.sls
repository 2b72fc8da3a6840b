{%- set voip = pillar['voip'] %}
# Where unattended-upgrades runs, it must not restart a daemon that carries calls: versions of the
# platform's own components are Salt's business (pillar/versions.yaml).
Keep unattended upgrades off the platform:
  file.managed:
    - name: /etc/apt/apt.conf.d/52voip-stack
    - source: salt://base/files/apt-upgrades.conf
    - template: jinja
    - context:
        components: {{ voip.self.components | tojson }}
