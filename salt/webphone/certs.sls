include:
  - pki
  - webphone.installed

Give the web phone its certificate:
  voip_certificate.managed:
    - name: webphone
    - require:
      - voip_package: Install the web phone's server
