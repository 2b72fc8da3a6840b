"""What the compiler gives, known beforehand: emulated, the module's one large file takes a minute.

Made with the same compiler, from the same source, against the same headers, where nothing is
emulated. Inside, the state's own build runs in full; only where ccache knows the result of a
compilation, the compiler does not run again. Another source, header, option or compiler, such as
the tests' broken one, is compiled.
"""

from __future__ import annotations

# A shell script for the image's chroot, as root: $new is the kernel, whose headers and module
# source lie in apt's archives. Leaves nothing but the compiler's results: the state installs the
# rest. By DKMS and plainly, since the place of a source is part of what is compiled.
SCRIPT = r"""
mkdir /opt/voip-test
cat > /etc/ccache.conf <<'END'
cache_dir = /opt/voip-test/ccache
sloppiness = file_stat_matches,file_stat_matches_ctime,include_file_ctime,include_file_mtime
END
ln -s ../../bin/ccache /usr/local/bin/gcc-12
for package in linux-headers-$new rtpengine-kernel-dkms; do
    dpkg -x /var/cache/apt/archives/${package}_*.deb /unpacked
done
cp -a /unpacked/usr/src/. /usr/src/
cp -a /unpacked/lib/modules/$new/build /lib/modules/$new/
source=$(echo /unpacked/usr/src/rtpengine-*) version=${source##*-}
plain=/var/lib/voip-stack/rtpengine-build
dkms add -m rtpengine -v $version
dkms build -m rtpengine -v $version -k $new
dkms remove -m rtpengine -v $version --all
mkdir -p ${plain%/*}
cp -a $source $plain
make -C /lib/modules/$new/build M=$plain RTPENGINE_VERSION=$version modules
ccache --show-stats
rm -r /unpacked $plain /usr/src/linux-headers-$new /usr/src/rtpengine-$version \
    /lib/modules/$new/build /var/lib/dkms/mok.*
rmdir ${plain%/*}
"""
