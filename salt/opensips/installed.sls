Install OpenSIPS:
  voip_package.installed:
    - name: opensips
