#!/bin/bash
# Debian: libslirp-dev does not bring what its own slirp.pc wants
#
# version    libslirp-dev 4.7.0-1 of Debian 12
# guess      with a -dev package installed, pkg-config says how to build with its library
# behaviour  slirp.pc has "Requires: glib-2.0", and the package depends on libslirp0 only: where libglib2.0-dev is not
#            there for another reason, pkg-config fails, for --cflags too. Nothing in its header needs GLib
# seen       "depends on: libslirp0 (= 4.7.0-1)", "pkg-config: Package 'glib-2.0', required by 'slirp', not found",
#            "builds with -lslirp alone"
#
# Fails when the package depends on GLib's or the .pc file does not. Needs apt-get and dpkg (a Debian 12 host with a
# package list), pkg-config, and a C compiler.
set -eu
version=4.7.0-1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
chmod 755 "$tmp"
cd "$tmp"
apt-get download "libslirp-dev=$version" "libslirp0=$version" >/dev/null
for deb in ./*.deb; do dpkg -x "$deb" root; done
libs=$PWD/root/usr/lib/x86_64-linux-gnu
depends=$(dpkg-deb -f libslirp-dev_*.deb Depends)
echo "depends on: $depends"
# A world in which nothing else is installed.
said=$(PKG_CONFIG_LIBDIR=$libs/pkgconfig pkg-config --print-errors --cflags slirp 2>&1 | tail -n 1) || true
echo "pkg-config: $said"
cat >try.c <<'C'
#include <slirp/libslirp.h>

int main(void)
{
	return slirp_version_string()[0] != '4';
}
C
cc -I root/usr/include try.c -L "$libs" -lslirp -Wl,--allow-shlib-undefined -o try
echo "builds with -lslirp alone"
[ "$depends" = "libslirp0 (= $version)" ] && [[ $said = *glib-2.0* ]]
