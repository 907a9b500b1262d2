#!/bin/bash
# QEMU: a versioned CPU model has not one CPUID, and -M microvm always shows the newest
#
# version    qemu-system-x86 1:10.0.13+ds-0+deb13u1 of Debian 13
# guess      EPYC-v1 names one set of CPUID leaves for good, whatever the release and the machine: that is what the
#            version is for, so a guest moves between two QEMUs that are both given -cpu EPYC-v1
# behaviour  what was mended in a model since is undone by the versioned machine types, through properties of
#            theirs (legacy caches), and not by the model's version. So the description of the L3 cache (leaf
#            8000001DH, subleaf 3, EDX: inclusive, complex indexing) is another one for pc-i440fx-7.2 than for
#            microvm, which has no versioned types: there EPYC-v1 of QEMU 7.2 says 6, and that of 10.0 says 2
# seen       "pc-i440fx-7.2 06000000, microvm 02000000"
#
# Fails when the two agree. Needs apt-get with a package list of Debian, dpkg-deb, python3; no KVM.
set -eu
version=1:10.0.13+ds-0+deb13u1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

# Debian 13's packages from the place that this host's come from, in a world of their own.
# shellcheck disable=SC2016
site=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | head -n 1)
mkdir -p apt/state/lists/partial apt/cache/archives/partial apt/etc/preferences.d root
: >apt/status
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site trixie main" >apt/etc/list
world() {
	apt-get -o Dir="$tmp/apt" -o Dir::State="$tmp/apt/state" -o Dir::State::status="$tmp/apt/status" \
		-o Dir::Cache="$tmp/apt/cache" -o Dir::Etc="$tmp/apt/etc" -o Dir::Etc::SourceList="$tmp/apt/etc/list" \
		-o Dir::Etc::SourceParts=- -o Dir::Etc::Parts=- -o APT::Sandbox::User=root -o Debug::NoLocking=1 \
		-o APT::Architecture=amd64 -o APT::Architectures=amd64 "$@" >log 2>&1 </dev/null || { tail log; exit 1; }
}
world update
world install -y --no-install-recommends --download-only "qemu-system-x86=$version"
(cd root && mkdir -p usr/lib usr/lib64 usr/bin usr/sbin && ln -s usr/lib lib && ln -s usr/lib64 lib64 &&
	ln -s usr/bin bin && ln -s usr/sbin sbin)
for deb in apt/cache/archives/*.deb; do
	dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink --no-same-owner -C root
done

# The firmware is the whole guest: CPUID 8000001DH, 3; EDX to the debug console; off.
python3 - <<'P'
code = bytes.fromhex("66b81d000080" "66b903000000" "0fa2" "6689d0")     # mov eax; mov ecx; cpuid; mov eax, edx
code += bytes.fromhex("e6e9" "66c1e808") * 4                            # out 0xe9, al; shr eax, 8
code += bytes.fromhex("b001" "e6f4" "f4" "ebfd")                        # out 0xf4, 1; hlt
rom = bytearray(b"\x90" * 65536)
rom[:len(code)] = code
rom[0xfff0:0xfff5] = bytes.fromhex("ea000000f0")                        # jmp f000:0000
open("rom", "wb").write(rom)
P
libs=root/usr/lib/x86_64-linux-gnu
shows() {
	rm -f edx
	"$libs/ld-linux-x86-64.so.2" --library-path "$libs" root/usr/bin/qemu-system-x86_64 -L root/usr/share/qemu \
		-L root/usr/share/seabios -M "$1" -accel tcg -cpu EPYC-v1 -smp 4 -m 32 -display none -nodefaults \
		-bios rom -debugcon file:edx -device isa-debug-exit,iobase=0xf4 2>/dev/null || true
	od -An -tx1 edx | tr -d ' \n'
}
old=$(shows pc-i440fx-7.2) new=$(shows microvm)
echo "pc-i440fx-7.2 $old, microvm $new"
[ "$old" = 06000000 ] && [ "$new" = 02000000 ]
