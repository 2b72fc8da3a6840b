Install the web phone's server:
  voip_package.installed:
    - name: webphone

# The package's own service would serve Debian's welcome page on port 80.
Keep the package's service off:
  file.symlink:
    - name: /etc/systemd/system/nginx.service
    - target: /dev/null
    - require:
      - voip_package: Install the web phone's server
