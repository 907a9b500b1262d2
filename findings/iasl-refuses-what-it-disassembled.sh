#!/bin/bash
# iasl: a table with QEMU's _HID "QEMUVGID" is disassembled without a word, and the text is refused by the same iasl
#
# version    acpica-tools 20200925-8 of Debian 12 and 20250404-1 of Debian 13
# guess      what iasl disassembles, iasl compiles: a test may compare a table with itself after that way and back. The
#            name of the generation ID's device is in the tables of QEMU's guests, and their kernels take it
# behaviour  a _HID of the form of an ACPI ID (four letters or digits, four hexadecimal digits) is looked at when it is
#            compiled, not when it is disassembled: "_HID suffix must be all hex digits (VGID)" is an error, and no
#            table is written. With -vw 6035 the table comes out, the same bytes as before
# seen       "disassembled: yes; compiled again: refused (6035); with -vw 6035: the same table" of both versions
#
# Fails when that is another line. Needs apt-get with package lists of Debian, dpkg-deb.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
# shellcheck disable=SC2016
site=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | head -n 1)

# tells SUITE VERSION: what the suite's iasl does, run with the suite's C library
tells() {
	local dir=$tmp/$1 deb way='' libs=root/usr/lib/x86_64-linux-gnu
	mkdir -p "$dir/apt/state/lists/partial" "$dir/apt/cache/archives/partial" "$dir/apt/etc/preferences.d" "$dir/root"
	cd "$dir"
	: >apt/status
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site $1 main" >apt/etc/list
	world=(apt-get -o Dir="$dir/apt" -o Dir::State="$dir/apt/state" -o Dir::State::status="$dir/apt/status"
		-o Dir::Cache="$dir/apt/cache" -o Dir::Etc="$dir/apt/etc" -o Dir::Etc::SourceList="$dir/apt/etc/list"
		-o Dir::Etc::SourceParts=- -o Dir::Etc::Parts=- -o APT::Sandbox::User=root -o Debug::NoLocking=1
		-o APT::Architecture=amd64 -o APT::Architectures=amd64)
	"${world[@]}" update >log 2>&1 </dev/null || { tail log >&2; return 1; }
	"${world[@]}" install -y --no-install-recommends --download-only "acpica-tools=$2" >log 2>&1 </dev/null ||
		{ tail log >&2; return 1; }
	(cd root && mkdir -p usr/lib usr/lib64 usr/bin usr/sbin && ln -s usr/lib lib && ln -s usr/lib64 lib64 &&
		ln -s usr/bin bin && ln -s usr/sbin sbin)
	for deb in apt/cache/archives/*.deb; do
		dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink --no-same-owner -C root
	done
	iasl() { "$libs/ld-linux-x86-64.so.2" --library-path "$libs" root/usr/bin/iasl "$@" >said 2>&1; }

	cat >vgen.asl <<-'A'
		DefinitionBlock ("", "SSDT", 1, "BOCHS ", "VMGENID", 1)
		{
		    Scope (\_SB)
		    {
		        Device (VGEN)
		        {
		            Name (_HID, "QEMUVGID")
		            Name (_CID, "VM_Gen_Counter")
		            Name (_DDN, "VM_Gen_Counter")
		        }
		    }
		}
	A
	iasl -vw 6035 -p table vgen.asl || { cat said >&2; return 1; }
	if iasl -d table.aml && grep -q '_HID, "QEMUVGID"' table.dsl; then way+="disassembled: yes"; fi
	if iasl -p again table.dsl; then
		way+="; compiled again: taken"
	elif grep -q '6035.*_HID suffix must be all hex digits (VGID)' said && [ ! -e again.aml ]; then
		way+="; compiled again: refused (6035)"
	else
		way+="; compiled again: $(cat said)"
	fi
	if iasl -vw 6035 -p again table.dsl && cmp -s again.aml table.aml; then way+="; with -vw 6035: the same table"; fi
	echo "$way"
}

same="disassembled: yes; compiled again: refused (6035); with -vw 6035: the same table"
for of in "bookworm 20200925-8" "trixie 20250404-1"; do
	read -r suite version <<<"$of"
	seen=$(tells "$suite" "$version")
	echo "$version: $seen"
	[ "$seen" = "$same" ]
done
