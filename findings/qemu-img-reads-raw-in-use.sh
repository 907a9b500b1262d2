#!/bin/bash
# qemu-img: what may read a raw image that another program writes to, and what may not
#
# version    qemu-utils 1:7.2+dfsg-7+deb12u18+b3 of Debian 12
# guess      an image that is open for writing elsewhere is either readable with qemu-img or it is not: all
#            commands that only read answer alike (with -U they all work, as the manual says)
# behaviour  the raw format gives up the demand that nobody else writes, for all commands that open the
#            image as any reader does: info, map, measure, compare, dd and bench work on a raw image in use,
#            without -U and without a word, though what they read may be torn. convert, which reads no more
#            than dd, opens its source in another way and is refused. On qcow2 all of them are refused.
# seen       raw:  info map measure compare dd bench read it, convert is refused
#            qcow2:  nothing read it, info map measure compare dd bench convert is refused
#            ("Failed to get shared "write" lock")
#
# Fails when a command is on the other side. Needs apt-get and dpkg (a Debian 12 host with a package list).
set -eu
version=1:7.2+dfsg-7+deb12u18+b3
tmp=$(mktemp -d)
writer=''
trap 'exec 9>&- || true; [ -z "$writer" ] || wait "$writer" || true; rm -rf "$tmp"' EXIT
chmod 755 "$tmp"
cd "$tmp"
apt-get download "qemu-utils=$version" >/dev/null 2>&1
# The libraries that it needs, as this host's suite has them.
apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
	--no-enhances "qemu-utils=$version" | sed -n '/^lib[a-z0-9]/p' | grep -v '^libc6\|:' | sort -u >wanted
xargs apt-get download <wanted >/dev/null 2>&1
for deb in ./*.deb; do dpkg -x "$deb" root; done
LD_LIBRARY_PATH=$PWD/root/usr/lib/x86_64-linux-gnu:$PWD/root/lib/x86_64-linux-gnu
export LD_LIBRARY_PATH
PATH=$PWD/root/usr/bin:$PATH

# try FORMAT: which commands read an image that qemu-io has open for writing
try() {
	local image=image.$1 line reads='' refused=''
	qemu-img create -q -f "$1" "$image" 1M
	mkfifo commands opened
	qemu-io -f "$1" "$image" <commands >opened 2>&1 &
	writer=$!
	exec 9>commands 8<opened
	rm commands opened
	read -r -d '>' line <&8 # its prompt: the image is open
	for line in "info $image" "map $image" "measure -O qcow2 $image" "compare $image $image" \
		"dd if=$image of=copy count=1" "bench -c 1 -f $1 $image" "convert -O raw $image copy"; do
		# shellcheck disable=SC2086
		if qemu-img $line >said 2>&1; then
			reads+=" ${line%% *}"
		else
			grep -q 'Failed to get shared "write" lock' said || { cat said && exit 2; }
			refused+=" ${line%% *}"
		fi
	done
	exec 9>&- 8<&-
	wait "$writer" || true
	writer=''
	printf '%s: %s read it,%s is refused\n' "$1" "${reads:- nothing}" "$refused"
}

for format in raw qcow2; do try "$format"; done | tee seen
if grep -q '^raw:  info map measure compare dd bench read it, convert is refused$' seen &&
	grep -q '^qcow2:  nothing read it, info map measure compare dd bench convert is refused$' seen; then
	echo "as found: a raw image in use is read by all but convert"
else
	echo "changed: another command reads it, or none"
	exit 1
fi
