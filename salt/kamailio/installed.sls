Install Kamailio:
  voip_package.installed:
    - name: kamailio
